-- Green's layout for this version. Run once, before the slot and the copy exist.
CREATE SCHEMA IF NOT EXISTS app;

CREATE TABLE app.customers (
    id bigint PRIMARY KEY,
    email text NOT NULL,
    full_name text,
    name text
);

-- Nobody waits for a table that is new: this index needs no CONCURRENTLY.
CREATE INDEX customers_by_email ON app.customers (email);
