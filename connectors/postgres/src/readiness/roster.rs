//! The roles that matter: those that may log in to blue's database, own migrated tables or hold rights on them, and the
//! groups that these belong to.

/// SQL for `roster (oid)`, given blue's tables. The role of our own connection is left out, and so are the server's.
pub(super) fn roster(oids: &str) -> String {
    format!(
        "RECURSIVE named (oid) AS ( \
           SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolcanlogin \
             AND pg_catalog.has_database_privilege(r.oid, current_database(), 'CONNECT') \
           UNION SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = ANY ('{oids}'::oid[]) \
           UNION SELECT x.grantee FROM pg_catalog.pg_class c, LATERAL pg_catalog.aclexplode(c.relacl) x \
             WHERE c.oid = ANY ('{oids}'::oid[]) \
           UNION SELECT x.grantee FROM pg_catalog.pg_attribute a, LATERAL pg_catalog.aclexplode(a.attacl) x \
             WHERE a.attrelid = ANY ('{oids}'::oid[])), \
         grouped (oid) AS (SELECT oid FROM named UNION \
           SELECT m.roleid FROM grouped g JOIN pg_catalog.pg_auth_members m ON m.member = g.oid), \
         roster (oid) AS (SELECT r.oid FROM grouped JOIN pg_catalog.pg_roles r USING (oid) \
           WHERE r.rolname NOT LIKE 'pg\\_%' AND r.rolname <> current_user)"
    )
}
