//! The shop: blue's schema and rows, green's other layout, and the mapping between the two.

use std::fmt::Write as _;

use understudy_contract::Failure;
use understudy_postgres::wire::Client;

const BLUE: &str = include_str!("shop/blue.sql");
const GREEN: &str = include_str!("shop/green.sql");
const SEED: &str = include_str!("shop/seed.sql");

/// Creates blue's schema.
pub async fn create_blue(blue: &mut Client) -> Result<(), Failure> {
    blue.batch(BLUE).await.map_err(|failure| failure.while_doing("create the shop's schema on blue"))
}

/// Creates green's schema.
pub async fn create_green(green: &mut Client) -> Result<(), Failure> {
    green.batch(GREEN).await.map_err(|failure| failure.while_doing("create the shop's schema on green"))
}

/// Whether blue holds the shop already.
pub async fn exists_on_blue(blue: &mut Client) -> Result<bool, Failure> {
    exists(blue, "shop.operations").await
}

/// Whether green has its tables already.
pub async fn exists_on_green(green: &mut Client) -> Result<bool, Failure> {
    exists(green, "store.operations").await
}

async fn exists(client: &mut Client, table: &str) -> Result<bool, Failure> {
    let rows = client.query(&format!("SELECT pg_catalog.to_regclass('{table}') IS NOT NULL")).await?;
    Ok(rows.first().and_then(|row| row.text(0)) == Some("t"))
}

/// How many rows of each kind the shop starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Customers, numbered from one.
    pub customers: u64,
    /// Products, numbered from one, each in three warehouses.
    pub products: u64,
    /// Orders, numbered from one, each with two or three items.
    pub orders: u64,
    /// Events, spread over half a year.
    pub events: u64,
    /// Articles with long texts, numbered from one.
    pub articles: u64,
}

impl Scale {
    /// About `rows` rows in all.
    pub fn of_rows(rows: u64) -> Scale {
        let share = |percent: f64| ((rows as f64 * percent / 100.0) as u64).max(10);
        Scale {
            customers: share(6.0),
            products: share(1.5),
            orders: share(17.0),
            events: share(13.0),
            articles: share(0.7),
        }
    }

    /// What a shop that was filled earlier holds.
    pub async fn of_shop(blue: &mut Client) -> Result<Scale, Failure> {
        let rows = blue
            .query(
                "SELECT (SELECT max(id) FROM shop.customers), (SELECT max(id) FROM shop.products), \
                 (SELECT max(id) FROM shop.orders), (SELECT max(id) FROM shop.events), (SELECT max(code) FROM shop.articles)",
            )
            .await
            .map_err(|failure| failure.while_doing("look at the shop").remedy("create it with --init"))?;
        let at = |index: usize| -> Result<u64, Failure> {
            rows.first().map_or(Ok(1), |row| row.optional(index).map(|most| most.unwrap_or(1)))
        };
        Ok(Scale { customers: at(0)?, products: at(1)?, orders: at(2)?, events: at(3)?, articles: at(4)? })
    }

    /// Fills the shop's tables.
    pub async fn seed(self, blue: &mut Client) -> Result<(), Failure> {
        let sql = SEED
            .replace("{customers}", &self.customers.to_string())
            .replace("{products}", &self.products.to_string())
            .replace("{orders}", &self.orders.to_string())
            .replace("{events}", &self.events.to_string())
            .replace("{articles}", &self.articles.to_string());
        blue.batch(&sql).await.map_err(|failure| failure.while_doing("fill the shop's tables"))
    }
}

/// How one table of blue becomes one of green.
#[derive(Debug, Clone, Copy)]
pub struct TableMap {
    /// Table on blue.
    pub blue: &'static str,
    /// Table on green.
    pub green: &'static str,
    /// How many of the leading `columns` form the key.
    pub key: usize,
    /// Green's column and what fills it, for each column of green.
    pub columns: &'static [(&'static str, Source)],
    /// Whether the migration file lists each column, since one of blue's is left out.
    pub listed: bool,
}

/// What fills a column of green.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Blue's column of the same name.
    Same,
    /// Blue's column of this name.
    Renamed(&'static str),
    /// A text that is the same in every row.
    Constant(&'static str),
    /// Green computes it, as blue does for its own column of the same name.
    Computed,
}

use Source::{Computed, Constant, Renamed, Same};

/// How the shop is verified, and what its gate asks for.
const GATE: &str = "\
verify:
  pass_pause: 1s
gate:
  soak: 3s
  accept:
    - { what: \"type shop.tier\", reason: \"store.tier takes its place\" }
    - { what: \"type shop.order_status\", reason: \"store.order_status takes its place\" }
    - { what: \"index shop.operations_operation_key\", reason: \"an operation that arrived twice has to show\" }
";

/// Every table that the migration moves.
pub const TABLES: &[TableMap] = &[
    TableMap {
        blue: "shop.customers",
        green: "store.clients",
        key: 1,
        columns: &[
            ("client_id", Renamed("id")),
            ("email", Same),
            ("name", Renamed("full_name")),
            ("tier", Same),
            ("tags", Same),
            ("preferences", Same),
            ("credit", Same),
            ("revision", Same),
            ("created_at", Same),
            ("origin", Constant("shop")),
        ],
        listed: true,
    },
    TableMap {
        blue: "shop.products",
        green: "store.products",
        key: 1,
        columns: &[
            ("id", Same),
            ("sku", Same),
            ("name", Same),
            ("list_price", Renamed("price")),
            ("dimensions_mm", Same),
            ("attributes", Same),
            ("discontinued_on", Same),
        ],
        listed: false,
    },
    TableMap {
        blue: "shop.inventory",
        green: "store.stock",
        key: 2,
        columns: &[("product_id", Same), ("warehouse", Same), ("on_hand", Same), ("revision", Same)],
        listed: false,
    },
    TableMap {
        blue: "shop.orders",
        green: "store.orders",
        key: 1,
        columns: &[
            ("id", Same),
            ("client_id", Renamed("customer_id")),
            ("status", Same),
            ("total", Same),
            ("ship_to", Same),
            ("note", Same),
            ("revision", Same),
            ("placed_at", Same),
        ],
        listed: false,
    },
    TableMap {
        blue: "shop.order_items",
        green: "store.order_items",
        key: 2,
        columns: &[
            ("order_id", Same),
            ("line_no", Same),
            ("product_id", Same),
            ("quantity", Same),
            ("price", Same),
            ("amount", Computed),
        ],
        listed: false,
    },
    TableMap {
        blue: "shop.payments",
        green: "store.payments",
        key: 1,
        columns: &[
            ("id", Same),
            ("order_id", Same),
            ("amount", Same),
            ("method", Same),
            ("reference", Same),
            ("paid_at", Same),
        ],
        listed: false,
    },
    TableMap {
        blue: "shop.articles",
        green: "store.articles",
        key: 1,
        columns: &[
            ("id", Same),
            ("code", Same),
            ("title", Same),
            ("content", Renamed("body")),
            ("revision", Same),
        ],
        listed: false,
    },
    TableMap {
        blue: "shop.events",
        green: "store.events",
        key: 2,
        columns: &[("id", Same), ("happened_at", Same), ("kind", Same), ("detail", Same)],
        listed: false,
    },
    TableMap {
        blue: "shop.operations",
        green: "store.operations",
        key: 1,
        columns: &[
            ("entry", Same),
            ("operation", Same),
            ("kind", Same),
            ("subject", Same),
            ("revision", Same),
            ("at", Same),
        ],
        listed: false,
    },
];

impl TableMap {
    /// Blue's rows as green should hold them, in an order that both sides share; ready for COPY.
    pub fn blue_rows(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|(green, source)| blue_expression(green, *source)).collect();
        select(&columns, self.key, self.blue)
    }

    /// Green's rows in the same order.
    pub fn green_rows(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(green, _)| (*green).to_owned()).collect();
        select(&columns, self.key, self.green)
    }

    fn write_entry(&self, file: &mut String) {
        let _ = writeln!(file, "  - from: {}\n    to: {}", self.blue, self.green);
        if self.columns.iter().all(|(_, source)| matches!(source, Same | Computed)) {
            return;
        }
        let _ = writeln!(file, "    columns:");
        for (green, source) in self.columns {
            let _ = match source {
                Same if self.listed => writeln!(file, "      {green}: {green}"),
                Same | Computed => continue,
                Renamed(blue) => writeln!(file, "      {green}: {blue}"),
                Constant(text) => writeln!(file, "      {green}: \"'{text}'\""),
            };
        }
        if !self.listed {
            let _ = writeln!(file, "      \"*\": \"*\"");
        }
    }
}

fn blue_expression(green: &str, source: Source) -> String {
    match source {
        Same | Computed => green.to_owned(),
        Renamed(blue) => blue.to_owned(),
        Constant(text) => format!("'{text}'"),
    }
}

/// Ordered by the text of the key, byte by byte, whatever types and collations the two sides have.
fn select(columns: &[String], key: usize, table: &str) -> String {
    let order: Vec<String> =
        columns[..key].iter().map(|column| format!("{column}::text COLLATE \"C\"")).collect();
    format!("SELECT {} FROM {table} ORDER BY {}", columns.join(", "), order.join(", "))
}

/// Where the two databases are, for a migration file.
#[derive(Debug, Clone)]
pub struct Side {
    /// Address without the password.
    pub url: String,
    /// File that holds the password.
    pub password_file: std::path::PathBuf,
}

/// The migration file that moves the shop.
pub fn migration_file(name: &str, blue: &Side, green: &Side, listen: &str) -> String {
    let mut file = String::from("# The shop moves to another server and to another layout.\nversion: 1\n");
    let _ = write!(
        file,
        "name: {name}\nblue:\n  url: {}\n  password: {{ file: {} }}\ngreen:\n  postgres:\n    url: {}\n    password: {{ file: {} }}\ntables:\n",
        blue.url,
        blue.password_file.display(),
        green.url,
        green.password_file.display()
    );
    for table in TABLES {
        table.write_entry(&mut file);
    }
    file.push_str(GATE);
    let _ = write!(file, "control:\n  listen: {listen}\n");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migration_file_renames_leaves_out_and_adds() {
        let side = |name: &str| Side { url: format!("postgres://{name}/shop"), password_file: name.into() };
        let file = migration_file("shop-demo", &side("blue"), &side("green"), "127.0.0.1:1");
        assert!(file.contains(
            "  - from: shop.customers\n    to: store.clients\n    columns:\n      client_id: id\n"
        ));
        assert!(file.contains("      origin: \"'shop'\"\n  - from: shop.products"));
        assert!(file.contains("      list_price: price\n      \"*\": \"*\"\n"));
        assert!(!file.contains("legacy_code"));
    }

    #[test]
    fn both_sides_are_read_in_one_order() {
        let articles = TABLES.iter().find(|table| table.blue == "shop.articles").unwrap();
        assert_eq!(
            articles.blue_rows(),
            "SELECT id, code, title, body, revision FROM shop.articles ORDER BY id::text COLLATE \"C\""
        );
        assert!(articles.green_rows().contains("content"));
    }
}
