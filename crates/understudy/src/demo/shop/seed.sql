-- Rows to copy. Every value follows from the row's number, so that two runs copy the same rows.
INSERT INTO shop.customers (email, full_name, tier, tags, preferences, credit, legacy_code, created_at)
SELECT 'customer' || n || '@example.org', 'Customer ' || n || E' "Ünïcode"\tÑ', (ARRAY['bronze', 'silver', 'gold'])[1 + n % 3]::shop.tier,
    CASE n % 4 WHEN 0 THEN '{}' ELSE ARRAY['tag' || n % 17, NULL, 'with "quotes", and \ more'] END,
    pg_catalog.jsonb_build_object('newsletter', n % 2 = 0, 'colour', pg_catalog.md5(n::text), 'depth', n % 9),
    (n % 100000) / 100.0, CASE WHEN n % 5 > 0 THEN 'L-' || n END, timestamptz '2024-01-01 00:00+00' + n * interval '37 seconds'
FROM pg_catalog.generate_series(1, {customers}) n;

INSERT INTO shop.products (sku, name, price, dimensions_mm, attributes, discontinued_on)
SELECT 'SKU-' || pg_catalog.lpad(n::text, 8, '0'), 'Product ' || n, (n * 37 % 99999) / 100.0, ARRAY[n % 500, n % 300, n % 200],
    pg_catalog.jsonb_build_object('colour', pg_catalog.md5(n::text), 'sizes', pg_catalog.jsonb_build_array('S', 'M', n % 60)),
    CASE WHEN n % 20 = 0 THEN date '2025-01-01' + n % 365 END
FROM pg_catalog.generate_series(1, {products}) n;

INSERT INTO shop.inventory (product_id, warehouse, on_hand)
SELECT n, w, 1000 + n % 77
FROM pg_catalog.generate_series(1, {products}) n, pg_catalog.unnest(ARRAY['north', 'south', 'west']) w;

INSERT INTO shop.orders (customer_id, status, total, ship_to, note, placed_at)
SELECT 1 + n::bigint * 7919 % {customers}, (ARRAY['placed', 'paid', 'packed', 'sent', 'returned'])[1 + n % 5]::shop.order_status,
    (n % 90000) / 100.0, pg_catalog.jsonb_build_object('city', 'City ' || n % 1000, 'zip', 10000 + n % 89999),
    CASE WHEN n % 3 = 0 THEN 'leave at the door ' || n END, timestamptz '2024-06-01 00:00+00' + n * interval '61 seconds'
FROM pg_catalog.generate_series(1, {orders}) n;

INSERT INTO shop.order_items (order_id, line_no, product_id, quantity, price)
SELECT o, l, 1 + (o::bigint * 31 + l) % {products}, 1 + (o + l) % 5, (o * l % 9999) / 100.0
FROM pg_catalog.generate_series(1, {orders}) o, pg_catalog.generate_series(1, 2 + o % 2) l;

INSERT INTO shop.payments (id, order_id, amount, method, reference, paid_at)
SELECT pg_catalog.md5('payment' || n)::uuid, n, (n % 90000) / 100.0, (ARRAY['card', 'transfer', 'voucher'])[1 + n % 3],
    pg_catalog.decode(pg_catalog.md5(n::text), 'hex'), timestamp '2024-06-01 00:05' + n * interval '61 seconds'
FROM pg_catalog.generate_series(1, {orders}) n WHERE n % 6 > 0;

INSERT INTO shop.events (happened_at, kind, detail)
SELECT pg_catalog.date_trunc('month', pg_catalog.now()) - n * (interval '175 days' / {events}),
    (ARRAY['view', 'search', 'login', 'basket'])[1 + n % 4],
    CASE WHEN n % 7 > 0 THEN pg_catalog.jsonb_build_object('page', '/p/' || n % 4000, 'agent', pg_catalog.md5((n % 50)::text)) END
FROM pg_catalog.generate_series(1, {events}) n;

INSERT INTO shop.articles (id, code, title, body)
SELECT n, n, 'Article ' || n, (SELECT pg_catalog.string_agg(pg_catalog.md5(n || '/' || part), '') FROM pg_catalog.generate_series(1, 100 + n % 200) part)
FROM pg_catalog.generate_series(1, {articles}) n;

ANALYZE;
