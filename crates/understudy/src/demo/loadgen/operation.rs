//! What the load's clients do to the shop: one transaction for each operation, with its line in the ledger.

use rand::RngExt;
use rand::rngs::StdRng;

use crate::demo::shop::Scale;

/// A number that no other operation of any run has: run, client and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(i64);

impl OperationId {
    /// The highest client number.
    pub const CLIENT_MAX: u8 = 255;

    /// The `count`-th operation of a client in a run, which is named by the second at which it began.
    pub const fn new(run: u32, client: u8, count: u32) -> OperationId {
        OperationId(((run & 0x7FFF_FFFF) as i64) << 32 | (client as i64) << 24 | (count & 0x00FF_FFFF) as i64)
    }

    /// As the ledger holds it.
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// From the ledger.
    pub const fn from_raw(raw: i64) -> OperationId {
        OperationId(raw)
    }
}

/// The kinds of operations, with how many of a hundred are of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Inserts into four tables, updates a fifth; a savepoint is rolled back on the way.
    PlaceOrder,
    /// Updates one row.
    AdvanceOrder,
    /// Deletes an order with everything that refers to it.
    CancelOrder,
    /// Changes a composite key.
    RenumberItem,
    /// Updates a row with an array and a document.
    TouchCustomer,
    /// Inserts into a table whose identity column is always generated.
    NewCustomer,
    /// Updates a row without sending its long text.
    RetitleArticle,
    /// Updates the long text.
    RewriteArticle,
    /// Changes a key without sending the long text of the row.
    MoveArticle,
    /// Works, and rolls back: nothing of it may ever show.
    ChangeMind,
}

const MIX: [(Kind, u32); 10] = [
    (Kind::PlaceOrder, 30),
    (Kind::AdvanceOrder, 15),
    (Kind::CancelOrder, 6),
    (Kind::RenumberItem, 7),
    (Kind::TouchCustomer, 18),
    (Kind::NewCustomer, 4),
    (Kind::RetitleArticle, 12),
    (Kind::RewriteArticle, 3),
    (Kind::MoveArticle, 3),
    (Kind::ChangeMind, 2),
];

impl Kind {
    pub(super) fn pick(random: &mut StdRng) -> Kind {
        let mut left = random.random_range(0..100);
        for (kind, share) in MIX {
            if left < share {
                return kind;
            }
            left -= share;
        }
        Kind::PlaceOrder
    }

    /// Which counter of a row its ledger line repeats.
    pub(super) const fn tracked(self) -> Option<Tracked> {
        match self {
            Kind::TouchCustomer => Some(Tracked::Customer),
            Kind::RetitleArticle | Kind::RewriteArticle | Kind::MoveArticle => Some(Tracked::Article),
            Kind::PlaceOrder
            | Kind::AdvanceOrder
            | Kind::CancelOrder
            | Kind::RenumberItem
            | Kind::NewCustomer
            | Kind::ChangeMind => None,
        }
    }

    /// Whether it ends with a rollback.
    pub(super) const fn rolls_back(self) -> bool {
        matches!(self, Kind::ChangeMind)
    }

    /// The operation as SQL. One statement, or several that hold their own BEGIN. A statement that finds no row to
    /// work on writes no ledger line and answers with no row.
    pub(super) fn sql(self, id: OperationId, scale: &Scale, random: &mut StdRng) -> Sql {
        let id = id.raw();
        let order = random.random_range(1..=scale.orders);
        let customer = random.random_range(1..=scale.customers);
        let article = random.random_range(1..=scale.articles);
        let salt: u32 = random.random();
        match self {
            Kind::PlaceOrder => Sql::Several(place_order(id, customer, scale, random)),
            Kind::AdvanceOrder => one(id, "advance", &advance_order(order, salt)),
            Kind::CancelOrder => Sql::One(cancel_order(id, order)),
            Kind::RenumberItem => one(id, "renumber", &renumber_item(order)),
            Kind::TouchCustomer => one(id, "touch", &touch_customer(customer, salt)),
            Kind::NewCustomer => one(id, "join", &new_customer(id, salt)),
            Kind::RetitleArticle => {
                one(id, "retitle", &change_article(article, &format!("title = 'Title {salt}'")))
            }
            Kind::RewriteArticle => one(id, "rewrite", &change_article(article, &new_body(salt))),
            Kind::MoveArticle => {
                one(id, "move", &change_article(article, "id = code + (revision + 1) * 1000000000"))
            }
            Kind::ChangeMind => Sql::Several(change_mind(id, customer)),
        }
    }
}

/// Rows that carry a counter, by which a lost or stale update shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tracked {
    /// By id.
    Customer,
    /// By code, since ids change.
    Article,
}

impl Tracked {
    /// Subject and counter of each tracked row on green.
    pub const fn on_green(self) -> &'static str {
        match self {
            Tracked::Customer => "SELECT client_id, revision FROM store.clients",
            Tracked::Article => "SELECT code, revision FROM store.articles",
        }
    }
}

/// An operation's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sql {
    /// A statement that is a transaction of its own and answers with subject and counter.
    One(String),
    /// Several statements with their own BEGIN and end.
    Several(String),
}

fn one(id: i64, kind: &str, work: &str) -> Sql {
    Sql::One(format!("WITH work AS ({work}) {}", ledger(id, kind)))
}

fn ledger(id: i64, kind: &str) -> String {
    format!(
        "INSERT INTO shop.operations (operation, kind, subject, revision) \
         SELECT {id}, '{kind}', subject, revision FROM work RETURNING subject, revision"
    )
}

fn advance_order(order: u64, salt: u32) -> String {
    format!(
        "UPDATE shop.orders SET status = (ARRAY['paid', 'packed', 'sent'])[1 + {salt} % 3]::shop.order_status, \
         note = CASE WHEN {salt} % 4 > 0 THEN 'note ' || {salt} END, revision = revision + 1 WHERE id = {order} \
         RETURNING id AS subject, revision"
    )
}

fn cancel_order(id: i64, order: u64) -> String {
    format!(
        "WITH items AS (DELETE FROM shop.order_items WHERE order_id = {order}), \
         paid AS (DELETE FROM shop.payments WHERE order_id = {order}), \
         work AS (DELETE FROM shop.orders WHERE id = {order} RETURNING id AS subject, revision) {}",
        ledger(id, "cancel")
    )
}

fn renumber_item(order: u64) -> String {
    format!(
        "UPDATE shop.order_items SET line_no = (SELECT max(line_no) + 1 FROM shop.order_items WHERE order_id = {order}) \
         WHERE order_id = {order} AND line_no = (SELECT min(line_no) FROM shop.order_items WHERE order_id = {order}) \
         RETURNING order_id AS subject, line_no AS revision"
    )
}

fn touch_customer(customer: u64, salt: u32) -> String {
    format!(
        "UPDATE shop.customers SET credit = credit + {salt} % 100, revision = revision + 1, \
         tags = CASE WHEN {salt} % 9 = 0 THEN '{{}}' ELSE tags[2:4] || 'seen {salt}'::text END, \
         preferences = preferences || '{{\"depth\": {salt}}}' WHERE id = {customer} RETURNING id AS subject, revision"
    )
}

fn new_customer(id: i64, salt: u32) -> String {
    format!(
        "INSERT INTO shop.customers (email, full_name, preferences) \
         VALUES ('new{id}@example.org', E'New \\\\ {salt}\\n', '{{\"salt\": {salt}}}') RETURNING id AS subject, revision"
    )
}

fn change_article(article: u64, change: &str) -> String {
    format!(
        "UPDATE shop.articles SET {change}, revision = revision + 1 WHERE code = {article} \
         RETURNING code AS subject, revision"
    )
}

fn new_body(salt: u32) -> String {
    format!(
        "body = (SELECT string_agg(md5(part || '{salt}'), '') FROM generate_series(1, 90 + {salt} % 150) part)"
    )
}

fn change_mind(id: i64, customer: u64) -> String {
    format!(
        "BEGIN; UPDATE shop.customers SET credit = -1, revision = revision + 1000000 WHERE id = {customer}; \
         INSERT INTO shop.operations (operation, kind) VALUES ({id}, 'rolled back'); ROLLBACK"
    )
}

fn place_order(id: i64, customer: u64, scale: &Scale, random: &mut StdRng) -> String {
    let items = random.random_range(1..=4);
    let product = random.random_range(1..=scale.products);
    let total = random.random_range(100..90_000);
    let warehouse = ["north", "south", "west"][random.random_range(0..3)];
    let order = "currval('shop.orders_id_seq')";
    format!(
        "BEGIN; \
         INSERT INTO shop.orders (customer_id, total, ship_to) VALUES ({customer}, {total} / 100.0, '{{\"zip\": {total}}}'); \
         INSERT INTO shop.order_items (order_id, line_no, product_id, quantity, price) \
         SELECT {order}, l, 1 + ({product} + l) % {products}, l, {total} / 100.0 FROM generate_series(1, {items}) l; \
         SAVEPOINT doubt; UPDATE shop.orders SET note = 'never seen' WHERE id = {order}; ROLLBACK TO doubt; \
         INSERT INTO shop.payments (order_id, amount, method, paid_at) VALUES ({order}, {total} / 100.0, 'card', localtimestamp); \
         UPDATE shop.inventory SET on_hand = on_hand - 1, revision = revision + 1 \
         WHERE product_id = {product} AND warehouse = '{warehouse}'; \
         INSERT INTO shop.events (kind, detail) VALUES ('order', '{{\"total\": {total}}}'); \
         INSERT INTO shop.operations (operation, kind, subject) VALUES ({id}, 'place', {order}); \
         COMMIT",
        products = scale.products,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mix_adds_up() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u32>(), 100);
    }

    #[test]
    fn operation_ids_are_ordered_within_a_client_and_never_shared() {
        let first = OperationId::new(1_800_000_000, 3, 9);
        assert!(first < OperationId::new(1_800_000_000, 3, 10));
        assert_ne!(first, OperationId::new(1_800_000_000, 4, 9));
        assert_ne!(first, OperationId::new(1_800_000_001, 3, 9));
        assert!(first.raw() > 0);
    }
}
