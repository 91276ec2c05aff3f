//! Extensions of blue's database: green has them, and none older.

use understudy_contract::Failure;

use super::Look;
use super::lacks::Lacks;
use crate::ident::quote_ident;
use crate::wire::Client;

pub(super) async fn look(look: &mut Look<'_>, out: &mut Lacks) -> Result<(), Failure> {
    let on_green = installed(look.green).await?;
    for (name, version) in installed(look.blue).await? {
        let subject = format!("extension {name}");
        match on_green.iter().find(|(other, _)| *other == name) {
            None => out.add(subject, "is not on green", format!("CREATE EXTENSION {}", quote_ident(&name))),
            Some((_, other)) if is_older(other, &version) => {
                let reason = format!("has version {other} on green and {version} on blue");
                out.add(subject, reason, format!("ALTER EXTENSION {} UPDATE", quote_ident(&name)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn installed(client: &mut Client) -> Result<Vec<(String, String)>, Failure> {
    let sql = "SELECT extname, extversion FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1";
    let rows = client.query(sql).await?;
    rows.iter().map(|row| Ok((row.required(0)?.to_owned(), row.required(1)?.to_owned()))).collect()
}

fn is_older(one: &str, other: &str) -> bool {
    let numbers = |version: &str| {
        let parts = version.split(|character: char| !character.is_ascii_digit());
        parts.filter_map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    numbers(one) < numbers(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `1.10` is newer than `1.9`.
    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_older("1.9", "1.10") && is_older("3.4", "3.4.1") && is_older("2.0dev", "2.1"));
        assert!(!is_older("1.10", "1.9") && !is_older("1.4", "1.4"));
    }
}
