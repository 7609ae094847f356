//! Tenants besides the first, which exists from the first start and has no row.

use reeve_types::TenantId;
use rusqlite::params;

use crate::keys::insert_key;
use crate::{NewKey, Store, StoreError, micros, moment};

/// A tenant that somebody made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTenant {
    /// Its name.
    pub tenant: TenantId,
    /// Who made it: `user:admin`.
    pub made_by: String,
    /// When.
    pub created_at: jiff::Timestamp,
}

impl Store {
    /// Keeps a tenant together with its first key. Returns whether the name was free; nothing is kept otherwise.
    pub async fn add_tenant(&self, tenant: StoredTenant, key: NewKey) -> Result<bool, StoreError> {
        self.write(move |db| {
            let added = db.execute(
                "INSERT OR IGNORE INTO tenants (tenant, made_by, created_us) VALUES (?1, ?2, ?3)",
                params![tenant.tenant.as_str(), tenant.made_by, micros(tenant.created_at)],
            )?;
            if added == 1 {
                insert_key(db, &key)?;
            }
            Ok(added == 1)
        })
        .await
    }

    /// Forgets a tenant that has just been made and owns nothing yet but its first key.
    pub async fn drop_tenant(&self, tenant: &TenantId) -> Result<(), StoreError> {
        let tenant = tenant.as_str().to_owned();
        self.write(move |db| {
            db.execute("DELETE FROM tenants WHERE tenant = ?1", [tenant])?;
            Ok(())
        })
        .await
    }

    /// The tenants that were made, oldest first. The first one is not among them.
    pub async fn tenants(&self) -> Result<Vec<StoredTenant>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT tenant, made_by, created_us FROM tenants ORDER BY created_us, tenant")?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))?;
            rows.map(|row| {
                let (name, made_by, created) = row?;
                let tenant = name.parse().map_err(|error: reeve_types::principal::BadTenant| StoreError::Corrupt {
                    what: "tenants".to_owned(),
                    reason: error.to_string(),
                })?;
                Ok(StoredTenant { tenant, made_by, created_at: moment(created) })
            })
            .collect()
        })
        .await
    }
}
