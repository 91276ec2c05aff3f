//! Folders of a project: numbered directories, each with the file of one migration.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Version;
use super::script::{Script, sha256};
use crate::settings::{Problem, SettingsError};

/// The migration file of a version.
pub const FILE: &str = "understudy.yaml";

/// What green is given before the copy.
pub const EXPAND: &str = "expand.sql";

/// What green is given after `finish`.
pub const CONTRACT: &str = "contract.sql";

/// The migration file that was meant, as text, with the version that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The file.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// Its place in a project; `None` for a file by itself.
    pub version: Option<Version>,
}

/// Finds the migration file that a path stands for: the file itself, a numbered directory of a project, or a project,
/// whose highest number is its current version. `name_of` tells the name in the text of a migration file.
pub fn locate(path: &Path, name_of: impl Fn(&str) -> Option<String>) -> Result<Located, SettingsError> {
    if path.is_dir() {
        let folder = match number_of(path) {
            Some(_) => path.to_owned(),
            None => path.join(current(path)?),
        };
        if !folder.join(FILE).is_file() {
            let problem = problem(format!("has no {FILE}"), "write the migration file there");
            return Err(refused(&folder, vec![problem]));
        }
        return version(&folder, name_of);
    }
    let folder =
        path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    if path.file_name().is_some_and(|name| name == FILE)
        && let Some(folder) = folder
        && number_of(folder).is_some()
    {
        return version(folder, name_of);
    }
    Ok(Located { file: path.to_owned(), text: read(path)?, version: None })
}

/// The number of a directory whose name has the form `001_name`.
fn number_of(folder: &Path) -> Option<u32> {
    parse(&own_name(folder)?)
}

/// The name of a directory, also where the path does not spell it.
fn own_name(folder: &Path) -> Option<String> {
    let name = match folder.file_name() {
        Some(name) => name.to_owned(),
        None => folder.canonicalize().ok()?.file_name()?.to_owned(),
    };
    name.into_string().ok()
}

fn parse(name: &str) -> Option<u32> {
    let (digits, rest) = name.split_once('_')?;
    let good = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) && !rest.is_empty();
    digits.parse().ok().filter(|_| good)
}

fn problem(what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::at(None, "", what).remedy(remedy)
}

fn refused(path: &Path, problems: Vec<Problem>) -> SettingsError {
    SettingsError { file: path.display().to_string(), problems }
}

fn read(file: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(file).map_err(|error| {
        let remedy =
            "name the migration file, or the folder of a project; draft a file with: understudy init";
        refused(file, vec![problem(format!("cannot be read: {error}"), remedy)])
    })
}

/// The directory of a project with the highest number.
fn current(project: &Path) -> Result<String, SettingsError> {
    let numbered = numbered(project)?;
    match numbered.into_iter().next_back() {
        Some((_, name)) => Ok(name),
        None => {
            let what = "is a folder without numbered directories";
            let remedy =
                format!("name a migration file, or a project with directories such as 001_first/{FILE}");
            Err(refused(project, vec![problem(what, remedy)]))
        }
    }
}

/// The versions of a project by number. Files, and directories that do not open with a digit, are nobody's business here.
fn numbered(project: &Path) -> Result<BTreeMap<u32, String>, SettingsError> {
    let unreadable =
        |error| refused(project, vec![problem(format!("cannot be listed: {error}"), "let it be read")]);
    let mut names = Vec::new();
    for entry in fs::read_dir(project).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let opens = entry.file_name().to_string_lossy().starts_with(|first: char| first.is_ascii_digit());
        if opens && entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    let (mut numbered, mut problems) = (BTreeMap::new(), Vec::new());
    for name in names {
        match parse(&name) {
            None | Some(0) => {
                if [FILE, EXPAND, CONTRACT].iter().any(|file| project.join(&name).join(file).exists()) {
                    let what = format!("the directory {name} is not numbered as a version is");
                    problems.push(problem(
                        what,
                        "three digits from 001 on, an underscore and a name: 001_split_users",
                    ));
                }
                continue;
            }
            Some(number) => {
                if let Some(other) = numbered.get(&number) {
                    let what = format!("{other} and {name} have the same number");
                    problems.push(problem(what, "give the later one the next free number"));
                    continue;
                }
                if !project.join(&name).join(FILE).is_file() {
                    problems
                        .push(problem(format!("{name} has no {FILE}"), "write it, or remove the directory"));
                }
                numbered.insert(number, name);
            }
        }
    }
    let numbers = numbered.keys().copied().collect::<Vec<_>>();
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)).filter(|(one, two)| *two - *one > 1) {
        let what = format!("the numbers have a gap: {before:03} is followed by {after:03}");
        problems.push(problem(
            what,
            "bring the missing version back, or close the gap; only the oldest may be removed",
        ));
    }
    if problems.is_empty() { Ok(numbered) } else { Err(refused(project, problems)) }
}

/// A version, in the project that it belongs to.
fn version(folder: &Path, name_of: impl Fn(&str) -> Option<String>) -> Result<Located, SettingsError> {
    let project = project_of(folder);
    let numbered = numbered(&project)?;
    let directory = own_name(folder).unwrap_or_default();
    same_names(&project, &numbered, name_of)?;
    let file = folder.join(FILE);
    let text = read(&file)?;
    let version = Version {
        number: parse(&directory).unwrap_or_default(),
        file_sha256: sha256(text.as_bytes()),
        expand: script(&folder.join(EXPAND))?,
        contract: script(&folder.join(CONTRACT))?,
        directory,
    };
    Ok(Located { file, text, version: Some(version) })
}

fn project_of(folder: &Path) -> PathBuf {
    match folder.file_name().and_then(|_| folder.parent()) {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => folder.join(".."),
    }
}

/// Slot and bookkeeping go by the migration's name: two versions of one name would be taken for one migration. A file
/// that tells no name is its own version's problem.
fn same_names(
    project: &Path,
    numbered: &BTreeMap<u32, String>,
    name_of: impl Fn(&str) -> Option<String>,
) -> Result<(), SettingsError> {
    let (mut known, mut problems) = (BTreeMap::<String, &str>::new(), Vec::new());
    for directory in numbered.values() {
        let name =
            fs::read_to_string(project.join(directory).join(FILE)).ok().and_then(|text| name_of(&text));
        let Some(name) = name else { continue };
        if let Some(other) = known.insert(name.clone(), directory) {
            let what = format!("{other} and {directory} are both named `{name}`");
            let remedy = format!("give {directory} a name of its own, such as {name}-{}", &directory[..3]);
            problems.push(problem(what, remedy));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(refused(project, problems)) }
}

fn script(file: &Path) -> Result<Option<Script>, SettingsError> {
    if !file.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(file).map_err(|error| {
        refused(
            file,
            vec![problem(format!("cannot be read: {error}"), "make it a readable file of text in UTF-8")],
        )
    })?;
    let script = Script::read(&file.display().to_string(), &text);
    script.map(Some).map_err(|problem| refused(file, vec![problem]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        /// Files with their texts; their folders are made.
        fn with(name: &str, files: &[(&str, &str)]) -> Folder {
            let folder =
                std::env::temp_dir().join(format!("understudy-project-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in files {
                let file = folder.join(file);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            Folder(folder)
        }

        fn at(&self, path: &str) -> Result<Located, SettingsError> {
            locate(&self.0.join(path), name_of)
        }

        fn refusal(&self) -> String {
            self.at("").unwrap_err().to_string()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn name_of(text: &str) -> Option<String> {
        text.strip_prefix("name: ").map(str::to_owned)
    }

    const TWO: [(&str, &str); 6] = [
        ("001_first/understudy.yaml", "name: one"),
        ("002_second/understudy.yaml", "name: two"),
        ("002_second/expand.sql", "SELECT 1"),
        ("README.md", "not a version"),
        ("notes/understudy.yaml", "name: one"),
        ("2024 minutes/today.txt", "not a version"),
    ];

    #[test]
    fn the_highest_number_is_the_current_version() {
        let folder = Folder::with("two", &TWO);
        for path in ["", "002_second", "002_second/understudy.yaml"] {
            let located = folder.at(path).unwrap();
            let version = located.version.unwrap();
            assert_eq!((version.number, version.directory.as_str()), (2, "002_second"), "{path}");
            assert_eq!((located.text.as_str(), version.contract.as_ref()), ("name: two", None));
            assert_eq!(version.file_sha256, sha256(b"name: two"));
            assert!(version.expand.unwrap().file.ends_with("002_second/expand.sql"));
        }
        let first = folder.at("001_first").unwrap().version.unwrap();
        assert_eq!((first.number, first.expand), (1, None));
        assert_eq!(folder.at("notes/understudy.yaml").unwrap().version, None, "a file by itself");
    }

    /// Old versions may be removed from the front; anywhere else somebody has lost one.
    #[test]
    fn the_oldest_versions_may_be_gone() {
        let folder = Folder::with(
            "late",
            &[("007_a/understudy.yaml", "name: a"), ("008_b/understudy.yaml", "name: b")],
        );
        assert_eq!(folder.at("").unwrap().version.unwrap().number, 8);
    }

    #[test]
    fn what_is_out_of_order_is_refused_at_once() {
        let folder = Folder::with(
            "bad",
            &[
                ("001_a/understudy.yaml", "name: a"),
                ("001_b/understudy.yaml", "name: b"),
                ("004_c/expand.sql", ""),
                ("5_d/understudy.yaml", "name: d"),
                ("000_e/understudy.yaml", "name: e"),
            ],
        );
        let refusal = folder.refusal();
        for words in [
            "001_a and 001_b have the same number",
            "004_c has no understudy.yaml",
            "001 is followed by 004",
            "the directory 5_d is not numbered",
            "the directory 000_e is not numbered",
        ] {
            assert!(refusal.contains(words), "`{words}` is not in:\n{refusal}");
        }
    }

    /// Two versions of one name would share slot and bookkeeping: the second would take itself for the first.
    #[test]
    fn versions_have_names_of_their_own() {
        let same = [("001_a/understudy.yaml", "name: shop"), ("002_b/understudy.yaml", "name: shop")];
        let refusal = Folder::with("same", &same).refusal();
        assert!(refusal.contains("001_a and 002_b are both named `shop`"), "{refusal}");
    }

    #[test]
    fn what_is_no_project_says_so() {
        let refusal = Folder::with("none", &[("x/y", "")]).refusal();
        assert!(refusal.contains("without numbered directories"), "{refusal}");
        let folder = Folder::with("empty", &[("001_a/notes.txt", "")]);
        assert!(folder.at("001_a").unwrap_err().to_string().contains("has no understudy.yaml"));
        assert!(folder.at("missing.yaml").unwrap_err().to_string().contains("cannot be read"));
        let broken = Folder::with(
            "broken",
            &[("001_a/understudy.yaml", "name: a"), ("001_a/expand.sql", "SELECT\n 'x")],
        );
        let refusal = broken.refusal();
        assert!(refusal.contains("001_a/expand.sql:2:2: is not SQL"), "{refusal}");
    }
}
