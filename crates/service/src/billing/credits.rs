//! Credits: granting, taking away, and what is left.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Currency, GrantId, Invalid, KeyFilter, Money, Page, Paged, TenantId,
    billing::grant::{CreditGrant, GrantFilter, GrantHolder, GrantSource},
    price::TooLarge,
};
use tollgate_repository::Application;

use super::Billing;
use crate::Error;

const GRANT: &str = "credit grant";
/// Keys whose running estimates an owner's balance counts: further ones would make it slow.
const MAX_ESTIMATED: u32 = 100;

/// A grant to be made.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members are those of CreditGrant")]
pub struct NewGrant {
    pub owner_id: Option<String>,
    pub api_key_id: Option<ApiKeyId>,
    pub amount: Money,
    pub currency: Currency,
    pub priority: u8,
    pub effective_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub prepaid: bool,
}

/// What an owner has in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Of the amounts.
    pub currency: Currency,
    /// What can pay now.
    pub available: Money,
    /// What becomes effective later.
    pub pending: Money,
    /// What can pay now and ends, in time.
    pub expiring: Vec<(Money, DateTime<Utc>)>,
    /// What will be left when the running period is closed. None: the owner has too many keys to say.
    pub after_current_period: Option<Money>,
}

impl Billing<'_> {
    /// Grants credit.
    pub async fn grant(self, tenant_id: TenantId, new: NewGrant) -> Result<CreditGrant, Error> {
        let now = self.0.clock().now();
        let holder = match (new.owner_id, new.api_key_id) {
            (Some(owner), None) => GrantHolder::Owner(owner),
            (None, Some(key)) => {
                self.0.keys().get_even_deleted(tenant_id, key).await.map_err(|error| match error {
                    Error::NotFound(_) => Invalid::field("/api_key_id", "no such API key").into(),
                    other => other,
                })?;
                GrantHolder::Key(key)
            }
            _ => return Err(Invalid::field("/owner_id", "either owner_id or api_key_id").into()),
        };
        let grant = CreditGrant {
            id: GrantId(self.0.clock().new_id()),
            holder,
            amount: new.amount,
            currency: new.currency,
            priority: new.priority,
            effective_at: new.effective_at.unwrap_or(now),
            expires_at: new.expires_at,
            reason: new.reason,
            prepaid: new.prepaid,
            source: GrantSource::Manual,
            created_at: now,
            voided_at: None,
            applied: Money::ZERO,
            version: 1,
        };
        grant.validate()?;
        Ok(self.0.repository().billing().insert_grant(tenant_id, &grant).await?)
    }

    /// A grant with what it paid.
    pub async fn find_grant(self, tenant_id: TenantId, id: GrantId) -> Result<(CreditGrant, Vec<Application>), Error> {
        self.0.repository().billing().grant(tenant_id, id).await?.ok_or(Error::NotFound(GRANT))
    }

    /// A page of grants, the newest first.
    pub async fn grants(
        self,
        tenant_id: TenantId,
        filter: &GrantFilter,
        page: Page,
    ) -> Result<Paged<CreditGrant>, Error> {
        Ok(self.0.repository().billing().grants(tenant_id, filter, page, self.0.clock().now()).await?)
    }

    /// Takes away what is left of a grant; what it paid stays.
    pub async fn void_grant(self, tenant_id: TenantId, id: GrantId) -> Result<CreditGrant, Error> {
        let voided = self.0.repository().billing().void_grant(tenant_id, id, self.0.clock().now()).await?;
        voided.ok_or(Error::NotFound(GRANT))
    }

    /// What an owner has in a currency: the given one, else the only one of its grants.
    ///
    /// # Errors
    /// [`Error::BadRequest`] names the currencies where there are several and none is given.
    pub async fn balance(
        self,
        tenant_id: TenantId,
        owner_id: &str,
        currency: Option<Currency>,
    ) -> Result<Balance, Error> {
        let now = self.0.clock().now();
        let mut grants = self.0.repository().billing().live_grants(tenant_id, owner_id, now).await?;
        grants.retain(|grant| grant.remaining() > Money::ZERO);
        let of_grants: BTreeSet<Currency> = grants.iter().map(|grant| grant.currency).collect();
        let currency = match (currency, of_grants.len()) {
            (Some(currency), _) => currency,
            (None, 0) => Currency::USD,
            (None, 1) => of_grants.first().copied().unwrap_or(Currency::USD),
            (None, _) => {
                let names: Vec<_> = of_grants.iter().map(Currency::as_str).collect();
                return Err(Error::BadRequest(format!("currency must be one of {}", names.join(", "))));
            }
        };
        let mut balance = Balance::none(currency);
        for grant in grants.iter().filter(|grant| grant.currency == currency) {
            balance.add(grant, now)?;
        }
        if let Some(owed) = self.running(tenant_id, owner_id, now).await? {
            let of_currency = owed.iter().filter(|(of, _)| *of == currency);
            let owed = of_currency.fold(0_i64, |sum, (_, amount)| sum.saturating_add(amount.0.max(0)));
            balance.after_current_period = Some(Money(balance.available.0.saturating_sub(owed).max(0)));
        }
        Ok(balance)
    }

    /// What the keys of an owner cost in the running period. None: they are too many.
    async fn running(
        self,
        tenant_id: TenantId,
        owner_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<Vec<(Currency, Money)>>, Error> {
        let filter = KeyFilter { owner_id: Some(owner_id.to_owned()), ..KeyFilter::default() };
        let keys = self.0.keys().list(tenant_id, &filter, Page { page: 1, limit: MAX_ESTIMATED }).await?;
        if keys.total > i64::from(MAX_ESTIMATED) {
            return Ok(None);
        }
        let (period, mut owed) = (BillingPeriod::containing(now), Vec::new());
        for key in keys.items {
            let (_, bill) = self.estimate(tenant_id, key.key.id, period).await?;
            owed.push((bill.currency, bill.subtotal()?));
        }
        Ok(Some(owed))
    }
}

impl Balance {
    fn none(currency: Currency) -> Self {
        let (available, pending) = (Money::ZERO, Money::ZERO);
        Self { currency, available, pending, expiring: Vec::new(), after_current_period: None }
    }

    fn add(&mut self, grant: &CreditGrant, now: DateTime<Utc>) -> Result<(), TooLarge> {
        let sum = if grant.effective_at > now { &mut self.pending } else { &mut self.available };
        *sum = sum.checked_add(grant.remaining()).ok_or(TooLarge)?;
        if let Some(end) = grant.expires_at.filter(|_| grant.effective_at <= now) {
            self.expiring.push((grant.remaining(), end));
        }
        Ok(())
    }
}
