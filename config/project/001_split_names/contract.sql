-- What only the old layout needed. Run after `finish`.
ALTER TABLE app.customers DROP COLUMN name;
