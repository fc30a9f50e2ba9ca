use postgres::types::Type;
use postgres::{Client, Error, Transaction};

/// Does `work` in one transaction of the account that `token` speaks for.
fn signed_in<T>(
    client: &mut Client,
    token: &str,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut transaction = client.transaction()?;
    // The typed functions leave no named prepared statement in the server session: see PgBouncer.
    let authenticate = "SELECT tenant_guard.authenticate($1)";
    transaction.query_typed(authenticate, &[(&token, Type::TEXT)])?;
    let done = work(&mut transaction)?;
    transaction.commit()?;
    Ok(done)
}
