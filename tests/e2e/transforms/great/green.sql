-- The shop and what came with it, as somebody who starts anew would lay it out.
CREATE SCHEMA next;
CREATE TYPE next.grade AS ENUM ('bronze', 'silver', 'gold');

CREATE TABLE next.clients (
    client_key text PRIMARY KEY,
    mail_hash text NOT NULL,
    name varchar(60) NOT NULL,
    grade next.grade NOT NULL,
    labels text NOT NULL,
    credit_cents bigint NOT NULL,
    settings jsonb NOT NULL,
    created_on date NOT NULL,
    revision bigint NOT NULL,
    origin text NOT NULL
);

CREATE TABLE next.gold_clients (
    id bigint PRIMARY KEY,
    mail_domain text NOT NULL,
    credit numeric(14,3) NOT NULL CHECK (credit < 500)
);

CREATE TABLE next.orders (
    order_key text PRIMARY KEY,
    client_key text NOT NULL,
    status text NOT NULL CHECK (status <> 'returned'),
    total_cents bigint NOT NULL,
    city text,
    zip int,
    note varchar(12),
    placed_at timestamptz NOT NULL,
    revision bigint NOT NULL
);

CREATE TABLE next.returns (
    id bigint PRIMARY KEY,
    total numeric(12,2) NOT NULL,
    placed_on text NOT NULL
);

CREATE TABLE next.items (
    item_key text PRIMARY KEY,
    order_key text NOT NULL,
    product_id bigint NOT NULL,
    quantity smallint NOT NULL,
    price numeric(10,2) NOT NULL,
    value numeric(14,4) NOT NULL
);

CREATE TABLE next.payments (
    id text PRIMARY KEY,
    order_key text NOT NULL,
    amount numeric(12,2) NOT NULL,
    method char(3) NOT NULL,
    reference text,
    paid_at timestamptz
);

CREATE TABLE next.products (
    id bigint PRIMARY KEY,
    sku text NOT NULL UNIQUE,
    list_price numeric(10,2) NOT NULL,
    spec jsonb NOT NULL,
    volume bigint NOT NULL,
    discontinued boolean NOT NULL
);

CREATE TABLE next.stock (
    stock_key text PRIMARY KEY,
    on_hand int NOT NULL,
    level text NOT NULL,
    revision bigint NOT NULL
);

CREATE TABLE next.articles (
    id bigint PRIMARY KEY,
    code int NOT NULL UNIQUE,
    headline varchar(20) NOT NULL,
    content text NOT NULL,
    summary text NOT NULL,
    content_bytes int NOT NULL,
    digest text NOT NULL,
    revision bigint NOT NULL
);

CREATE TABLE next.events (
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    detail jsonb NOT NULL,
    PRIMARY KEY (id, at)
);

CREATE TABLE next.activity (
    source text NOT NULL,
    id bigint NOT NULL,
    at timestamptz NOT NULL,
    detail jsonb,
    PRIMARY KEY (source, id)
);

CREATE TABLE next.documents (
    doc_key text PRIMARY KEY,
    heading text NOT NULL,
    body text NOT NULL,
    opening text NOT NULL,
    size int NOT NULL,
    touched bigint NOT NULL
);

CREATE TABLE next.readings (
    region text NOT NULL,
    id bigint NOT NULL,
    fahrenheit numeric(7,1) NOT NULL,
    year int NOT NULL,
    PRIMARY KEY (region, id)
);

CREATE TABLE next.operations (
    entry bigint PRIMARY KEY,
    operation bigint NOT NULL,
    kind text NOT NULL,
    subject bigint,
    revision bigint,
    at timestamptz NOT NULL
);
