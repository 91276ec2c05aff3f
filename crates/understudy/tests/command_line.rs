//! The program as it is typed: what goes to stdout, what to stderr, and the exit code. No server is needed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn last_line(&self) -> &str {
        self.stderr.lines().last().unwrap_or("")
    }
}

fn understudy(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    for name in ["UNDERSTUDY_FILE", "UNDERSTUDY_CONTROL", "RUST_LOG"] {
        command.env_remove(name);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A migration file that goes away with the test.
struct File(PathBuf);

impl File {
    fn with(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("understudy-cli-{name}-{}.yaml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const GOOD: &str = "version: 1
name: shop
blue: { url: 'postgres://u@127.0.0.1:1/shop?sslmode=disable' }
green: { postgres: { url: 'postgres://u@127.0.0.1:1/shop', password: { env: GREEN_PASSWORD_OF_NOBODY } } }
tables: [{ from: public.* }]
";

#[test]
fn help_goes_to_stdout_and_leads_with_examples() {
    let help = understudy(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    for verb in [
        "demo",
        "init",
        "check",
        "plan",
        "run",
        "status",
        "verify",
        "mismatches",
        "repair",
        "config",
        "finish",
        "abort",
        "healthcheck",
        "completions",
    ] {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb} is not in\n{}", help.stdout);
        let own = understudy(&[verb, "--help"]);
        assert_eq!(own.code, 0);
        assert!(own.stdout.contains("Usage: understudy"), "{}", own.stdout);
    }
    assert!(help.stdout.contains("Examples:"));
    assert!(!help.stdout.contains("loadgen"), "what is for the demonstration stays hidden");
    assert_eq!(understudy(&["--version"]).stdout, format!("understudy {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_is_told_on_stderr_with_code_2() {
    for arguments in
        [&["chek", "a.yaml"][..], &["run"], &["run", "a.yaml", "--recpy", "x"], &["status", "--every", "3"]]
    {
        let ended = understudy(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
    assert!(understudy(&["chek", "a.yaml"]).stderr.contains("'check'"), "the nearest verb is suggested");
}

#[test]
fn a_bad_file_is_refused_by_every_verb_that_reads_one() {
    let file = File::with("bad", &GOOD.replace("tables:", "tabels:"));
    let path = file.path();
    for verb in [
        &["config", "check"][..],
        &["config", "render"],
        &["check"],
        &["plan"],
        &["run"],
        &["finish"],
        &["abort"],
        &["verify"],
        &["mismatches", "list"],
        &["repair"],
    ] {
        let ended = understudy(&[verb, &[path]].concat());
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{verb:?}: {}", ended.stderr);
        let unknown = format!("{path}:5:1: unknown key `tabels`\n  remedy: did you mean `tables`?\n");
        assert!(ended.stderr.contains(&unknown), "{}", ended.stderr);
        assert_eq!(ended.last_line(), format!("next: understudy config check {path}"));
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let ended = understudy(&["run", "/nonexistent/shop.yaml"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("/nonexistent/shop.yaml: cannot be read: No such file"),
        "{}",
        ended.stderr
    );
}

#[test]
fn files_can_be_checked_and_rendered_without_their_secrets() {
    let file = File::with("good", GOOD);
    let checked = understudy(&["config", "check", file.path()]);
    assert_eq!(
        checked.stdout,
        format!("{}: migration `shop` with 1 entries in `tables`: good\n", file.path())
    );
    let json: serde_json::Value =
        serde_json::from_str(&understudy(&["config", "check", file.path(), "-o", "json"]).stdout).unwrap();
    assert_eq!((&json["schema"], &json["good"]), (&"understudy/v1/config-check".into(), &true.into()));
    assert_eq!((&json["files"][0]["migration"], &json["files"][0]["entries"]), (&"shop".into(), &1.into()));
    let rendered = understudy(&["config", "render", file.path()]);
    assert_eq!(rendered.code, 0);
    for line in ["name: shop", "  on_error: stop", "  heartbeat: 1s", "      env: GREEN_PASSWORD_OF_NOBODY"] {
        assert!(rendered.stdout.lines().any(|shown| shown == line), "{line} is not in\n{}", rendered.stdout);
    }
}

/// Every file is checked and every problem told, whichever file comes first; programs get the places too.
#[test]
fn several_files_are_checked_at_once() {
    let bad = File::with("several-bad", &GOOD.replace("tables:", "tabels:"));
    let good = File::with("several-good", GOOD);
    for files in [[bad.path(), good.path()], [good.path(), bad.path()]] {
        let ended = understudy(&[&["config", "check"], &files[..]].concat());
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stdout.starts_with(&format!("{}: migration `shop`", good.path())), "{}", ended.stdout);
        assert!(
            ended.stderr.contains(&format!("{}:5:1: unknown key `tabels`", bad.path())),
            "{}",
            ended.stderr
        );
        assert_eq!(ended.last_line(), format!("next: understudy config check {} {}", files[0], files[1]));
        let ended = understudy(&[&["config", "check", "-o", "json"], &files[..]].concat());
        let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, &json["good"]), (2, &false.into()));
        let of =
            |path: &str| json["files"].as_array().unwrap().iter().find(|one| one["file"] == path).unwrap();
        assert_eq!(of(good.path())["good"], true);
        let problems = of(bad.path())["problems"].as_array().unwrap();
        assert!(problems.iter().any(|problem| problem["line"] == 5), "{problems:?}");
    }
}

/// What is probably not meant is told, and refused with --strict.
#[test]
fn warnings_are_errors_when_asked_for() {
    let open = File::with("warned", &GOOD.replace("u@127.0.0.1:1/shop?sslmode=disable", "u@db.example/shop"));
    let ended = understudy(&["config", "check", open.path()]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let told = format!("{}: blue.url: the connection to `db.example` need not be encrypted", open.path());
    assert!(ended.stderr.contains(&format!("warning: {told}")), "{}", ended.stderr);
    let ended = understudy(&["config", "check", open.path(), "--strict"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{}", ended.stderr);
    assert!(ended.stderr.starts_with(&format!("error: {told}")), "{}", ended.stderr);
    assert!(ended.last_line().ends_with(" --strict"), "{}", ended.stderr);
    // Two files of one name are two migrations only where they do not meet.
    let (one, other) = (File::with("namesake-a", GOOD), File::with("namesake-b", GOOD));
    let ended = understudy(&["config", "check", "--strict", one.path(), other.path()]);
    let told = format!("`shop` is also the name in {}, on the same server", one.path());
    assert!(ended.code == 2 && ended.stderr.contains(&told), "{}", ended.stderr);
    let elsewhere = File::with("namesake-c", &GOOD.replace("127.0.0.1:1/shop", "127.0.0.1:2/shop"));
    assert_eq!(understudy(&["config", "check", "--strict", one.path(), elsewhere.path()]).code, 0);
}

/// Only --connect asks servers, and one that is away is told apart from a file that is wrong.
#[test]
fn only_when_asked_does_a_check_connect() {
    let away = File::with("check-away", &GOOD.replace(", password: { env: GREEN_PASSWORD_OF_NOBODY }", ""));
    assert_eq!(understudy(&["config", "check", away.path()]).code, 0);
    let ended = understudy(&["config", "check", "--connect", away.path()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("connect to blue (u@127.0.0.1:1/shop)"), "{}", ended.stderr);
    let secret = File::with("check-secret", GOOD);
    let ended = understudy(&["config", "check", "--connect", secret.path(), away.path()]);
    assert_eq!(ended.code, 2, "a file that must be mended counts for more: {}", ended.stderr);
    assert!(ended.stderr.contains("GREEN_PASSWORD_OF_NOBODY"), "{}", ended.stderr);
}

#[test]
fn a_missing_secret_stops_what_would_connect() {
    let file = File::with("secret", GOOD);
    let ended = understudy(&["check", file.path()]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("the environment variable `GREEN_PASSWORD_OF_NOBODY` is not set"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_unreachable_server_is_named() {
    let file = File::with("away", &GOOD.replace(", password: { env: GREEN_PASSWORD_OF_NOBODY }", ""));
    for verb in ["check", "plan", "abort", "finish"] {
        let ended = understudy(&[verb, file.path()]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{verb}: {}", ended.stderr);
        assert!(ended.stderr.contains("connect to blue (u@127.0.0.1:1/shop)"), "{}", ended.stderr);
        assert_eq!(ended.last_line(), format!("next: understudy check {}", file.path()));
    }
}

/// What is read and asked on green needs green alone; what cannot be meant is refused before anything is asked.
#[test]
fn mismatches_are_read_on_green() {
    let file = File::with("books", &GOOD.replace(", password: { env: GREEN_PASSWORD_OF_NOBODY }", ""));
    for verb in [
        &["verify", file.path()][..],
        &["mismatches", "list", file.path()],
        &["mismatches", "show", file.path(), "7"],
        &["mismatches", "explain", file.path(), "7"],
        &["mismatches", "waive", file.path(), "7", "--reason", "so"],
        &["repair", file.path(), "--all"],
    ] {
        let ended = understudy(verb);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{verb:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("connect to green (u@127.0.0.1:1/shop)"), "{}", ended.stderr);
        assert_eq!(ended.last_line(), format!("next: understudy check {}", file.path()));
    }
    for wrong in [
        &["verify", file.path(), "--limit", "busy"][..],
        &["verify", file.path(), "--wait", "soon"],
        &["verify", file.path(), "--table", "orders"],
        &["mismatches", "list", file.path(), "--kind", "odd"],
        &["mismatches", "waive", file.path(), "7"],
        &["repair", file.path(), "7", "--all"],
        &["repair", file.path(), "seven"],
    ] {
        let ended = understudy(wrong);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{wrong:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    }
}

#[test]
fn a_sidecar_that_is_not_there_is_told_with_code_1() {
    for verb in ["status", "healthcheck"] {
        let ended = understudy(&[verb, "--control", "127.0.0.1:1"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
        assert!(
            ended.stderr.contains("cannot ask the sidecar at 127.0.0.1:1: Connection refused"),
            "{}",
            ended.stderr
        );
        assert!(ended.last_line().starts_with("next: understudy "), "{}", ended.stderr);
    }
}

#[test]
fn names_and_urls_of_a_draft_are_checked_first() {
    let ended = understudy(&["init", "--name", "Shop", "--blue", "x", "--green", "y"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.starts_with("error: --name Shop: not a migration name\nremedy: lower-case"),
        "{}",
        ended.stderr
    );
    let ended = understudy(&["init", "--name", "shop", "--blue", "mysql://h/d", "--green", "postgres://h/d"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.starts_with("error: could not read --blue: "), "{}", ended.stderr);
}

#[test]
fn completions_are_scripts() {
    for (shell, sign) in [
        ("bash", "complete -F _understudy"),
        ("zsh", "#compdef understudy"),
        ("fish", "complete -c understudy"),
    ] {
        let ended = understudy(&["completions", shell]);
        assert!(ended.code == 0 && ended.stdout.contains(sign), "{shell}");
    }
}

#[test]
fn a_table_to_be_copied_again_is_named_in_full() {
    let file = File::with("recopy", &GOOD.replace(", password: { env: GREEN_PASSWORD_OF_NOBODY }", ""));
    let ended = understudy(&["run", file.path(), "--recopy", "users"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.starts_with("error: --recopy users: not of the form schema.table\n"),
        "{}",
        ended.stderr
    );
}
