//! Prepared transactions of blue's database: they hold their locks until somebody ends them.

use understudy_contract::Failure;

use super::lacks::Lacks;
use crate::ident::quote_literal;
use crate::wire::Client;

const SQL: &str = "SELECT gid, owner, extract(epoch FROM clock_timestamp() - prepared)::bigint \
                   FROM pg_catalog.pg_prepared_xacts WHERE database = current_database() ORDER BY prepared";

pub(super) async fn look(blue: &mut Client, out: &mut Lacks) -> Result<(), Failure> {
    for row in blue.query(SQL).await? {
        let gid = row.required(0)?;
        let reason =
            format!("of {} has waited for {} s", row.text(1).unwrap_or("?"), row.text(2).unwrap_or("?"));
        let name = quote_literal(gid);
        let remedy = format!("COMMIT PREPARED {0}, or ROLLBACK PREPARED {0}", name.trim_start());
        out.add(format!("prepared transaction {gid}"), reason, remedy);
    }
    Ok(())
}
