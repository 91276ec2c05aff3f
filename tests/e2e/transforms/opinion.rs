//! What green's rows are to be after the great migration, said by hand in SQL over blue.
//!
//! Written apart from the migration file, and where there is another way to say a thing it is said that way.

use understudy_tests::Same;

use super::Masking;

/// Green's columns in order, and the query over blue that gives the same rows.
const OPINIONS: &[(&str, &str, &str)] = &[
    (
        "next.clients",
        "client_key, mail_hash, name, grade, labels, credit_cents, settings, created_on, revision, origin",
        "SELECT format('eu-%s', id), {mask:email}, overlay(full_name placing upper(substring(full_name from 1 for 1)) from 1 for 1), \
         tier, coalesce((SELECT string_agg(coalesce(tag, '-'), ',' ORDER BY n) FROM unnest(tags) WITH ORDINALITY t (tag, n)), ''), \
         trim_scale(credit * 100), jsonb_build_object('tags', tags) || jsonb_build_object('depth', preferences #> '{depth}', \
         'colour', preferences #>> '{colour}'), date_trunc('day', timezone('Europe/Berlin', created_at))::date, revision, 'shop' \
         FROM shop.customers",
    ),
    (
        "next.gold_clients",
        "id, mail_domain, credit",
        "SELECT id, substr(email, strpos(email, '@') + 1), round(credit, 3) FROM shop.customers \
         WHERE tier::text = 'gold' AND NOT credit >= 500",
    ),
    (
        "next.orders",
        "order_key, client_key, status, total_cents, city, zip, note, placed_at, revision",
        "SELECT format('eu-%s', id), format('eu-%s', customer_id), status, trim_scale(total * 100), ship_to #>> '{city}', \
         (ship_to -> 'zip')::int, substring(note from 1 for 12), placed_at, revision FROM shop.orders \
         WHERE status IN ('placed', 'paid', 'packed', 'sent')",
    ),
    (
        "next.returns",
        "id, total, placed_on",
        "SELECT id, total, (placed_at AT TIME ZONE 'UTC')::date::text FROM shop.orders WHERE status::text LIKE 'ret%'",
    ),
    (
        "next.items",
        "item_key, order_key, product_id, quantity, price, value",
        "SELECT concat_ws('/', order_id, line_no), concat('eu-', order_id), product_id, quantity, price, round(amount, 4) \
         FROM shop.order_items",
    ),
    (
        "next.payments",
        "id, order_key, amount, method, reference, paid_at",
        "SELECT id, concat('eu-', order_id), amount, upper(substring(method for 3)), ltrim(reference::text, '\\x'), \
         (paid_at::text || '+00')::timestamptz FROM shop.payments",
    ),
    (
        "next.products",
        "id, sku, list_price, spec, volume, discontinued",
        "SELECT id, sku, price, attributes || jsonb_build_object('name', name) || jsonb_build_object('mm', dimensions_mm), \
         dimensions_mm[3]::numeric * dimensions_mm[2] * dimensions_mm[1], \
         coalesce(discontinued_on > '-infinity', false) FROM shop.products",
    ),
    (
        "next.stock",
        "stock_key, on_hand, level, revision",
        "SELECT concat(warehouse, '/', product_id), on_hand, (ARRAY['low', 'fair', 'high'])[1 + (on_hand >= 1000)::int + \
         (on_hand >= 1040)::int], revision FROM shop.inventory",
    ),
    (
        "next.articles",
        "id, code, headline, content, summary, content_bytes, digest, revision",
        "SELECT id, code, title::varchar(20), body, rpad(substring(body from 1 for 40), length(left(body, 40)) + 3, '.'), \
         length(convert_to(body, 'UTF8')), md5(convert_to(body, 'UTF8')), revision FROM shop.articles",
    ),
    (
        "next.events",
        "id, at, detail",
        "SELECT id, happened_at, jsonb_build_object('detail', detail) || jsonb_build_object('kind', kind) FROM shop.events",
    ),
    (
        "next.activity",
        "source, id, at, detail",
        "SELECT 'web', id, at, jsonb_build_object('agent', agent, 'path', path) FROM extra.web_visits UNION ALL \
         SELECT 'app', id, (at::text || '+00')::timestamptz, CASE WHEN device IS NULL THEN jsonb_build_object('screen', screen) \
         ELSE jsonb_set(device, '{screen}', to_jsonb(screen)) END FROM extra.app_visits",
    ),
    (
        "next.documents",
        "doc_key, heading, body, opening, size, touched",
        "SELECT concat('doc-', id), format('%s (%s)', title, region), body, substring(body for 30), char_length(body), touched \
         FROM extra.documents WHERE region IN ('north', 'south')",
    ),
    (
        "next.readings",
        "region, id, fahrenheit, year",
        "SELECT region, id, round(1.8 * celsius + 32, 1), date_part('year', taken) FROM extra.readings WHERE celsius = celsius",
    ),
    (
        "next.operations",
        "entry, operation, kind, subject, revision, at",
        "SELECT entry, operation, kind, subject, revision, at FROM shop.operations",
    ),
];

/// The opinions under a masking key.
pub(crate) fn opinions(masking: &Masking) -> Vec<Same> {
    let same = |(table, columns, blue): &(&str, &str, &str)| Same {
        blue: blue.replace("{mask:email}", &masking.sql("email")),
        green: format!("SELECT {columns} FROM {table}"),
    };
    OPINIONS.iter().map(same).collect()
}
