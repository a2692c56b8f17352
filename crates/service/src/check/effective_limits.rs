//! What the keys of a plan have in common: its limits, ready for the limiter. Held once for all of them, so that a check of
//! one key among very many finds most of what it needs in the processor's cache.

use std::{
    any::Any,
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tollgate_domain::{Algorithm, ApiKey, CalendarSpec, LimitSpec, OnFailure, Overage, Per, Plan, PlanId, TenantId};
use tollgate_limiter::{Calendar, CalendarUnit, InvalidQuota, Limit, LimitStatus, Mode, Quota, Tz, Window};

/// Name of the limit that stands for the period's quota.
pub const QUOTA: &str = "quota";

/// The limits of a key, as its plan and its own record say.
pub struct Terms {
    /// The plan.
    pub plan: Plan,
    /// The limits in force, first those counted per key, then those the owner's keys share; without the quota.
    pub specs: Vec<LimitSpec>,
    /// For the limiter: those counted per key, then the quota if the plan has one.
    pub(crate) own: Vec<Limit>,
    /// Those that the owner's keys share.
    pub(crate) shared: Vec<Limit>,
    /// What the API works out of these terms.
    pub memo: Memo,
    outdated: Outdated,
}

/// Set once the plan that something was made from has changed. One for all that was made from the same version of it.
type Outdated = Arc<AtomicBool>;

/// What another crate works out of something that is held here, once, for as long as it is held.
#[derive(Default)]
pub struct Memo(OnceLock<Box<dyn Any + Send + Sync>>);

/// The terms that more than one key may have, while any has.
#[derive(Default)]
pub(crate) struct CommonTerms(Mutex<Common>);

#[derive(Default)]
struct Common {
    terms: HashMap<CommonKey, Weak<Terms>>,
    /// By tenant and name, for plans that something is held of.
    plans: HashMap<(TenantId, String), Weak<AtomicBool>>,
}

/// A plan, and whether the key has an owner to share limits with.
type CommonKey = (PlanId, bool);

impl Terms {
    fn new(plan: Plan, key: &ApiKey, outdated: Outdated) -> Result<Self, InvalidQuota> {
        let of_owner = |spec: &LimitSpec| spec.per == Per::Owner && key.owner_id.is_some();
        let mut specs = key.effective_limits(&plan.limits);
        specs.sort_by_key(of_owner);
        let all = specs.iter().map(to_limit).collect::<Result<Vec<_>, _>>()?;
        let (mut own, mut shared) = (all, Vec::new());
        shared.extend(own.drain(specs.iter().filter(|spec| !of_owner(spec)).count()..));
        if let Some(quota) = &plan.quota {
            let mode = match quota.overage {
                Overage::Block => Mode::Enforce,
                Overage::Bill => Mode::Count,
            };
            own.push(quota_limit(quota.limit)?.with_mode(mode));
        }
        Ok(Self { plan, specs, own, shared, memo: Memo::default(), outdated })
    }

    /// Whether the plan has changed since these terms were made.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Bytes that a key with limits of its own takes for them, about.
    pub(crate) fn size(&self) -> usize {
        let limits = self.own.len() + self.shared.len();
        size_of::<Self>() + limits * (size_of::<Limit>() + size_of::<LimitSpec>() + 128)
    }

    /// Every limit in the order of a decision's: per key, the quota, the owner's.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.own.iter().chain(&self.shared)
    }

    /// Those of the specifications, in their order: all but the quota.
    pub fn rate_limits(&self) -> impl Iterator<Item = &Limit> {
        let quota = self.quota_index();
        self.limits().enumerate().filter(move |(index, _)| Some(*index) != quota).map(|(_, limit)| limit)
    }

    /// The limit whose status in a decision this is.
    pub fn limit_of(&self, status: &LimitStatus) -> Option<&Limit> {
        let part = if status.part() == 0 { &self.own } else { &self.shared };
        part.get(status.index())
    }

    /// Index of the quota among [`Terms::limits`], if the plan has one.
    pub fn quota_index(&self) -> Option<usize> {
        self.plan.quota.as_ref().map(|_| self.own.len().saturating_sub(1))
    }
}

impl Memo {
    /// What was kept, made if nothing was. None when something of another type was kept before.
    pub fn get_or_make<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Box::new(make())).downcast_ref()
    }
}

impl CommonTerms {
    /// A key's terms: those of its plan, unless the key has limits of its own.
    pub(crate) fn of(&self, key: &ApiKey, plan: Plan) -> Result<Arc<Terms>, InvalidQuota> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !key.limits.is_empty() {
            let outdated = held.outdated(&plan);
            drop(held);
            return Terms::new(plan, key, outdated).map(Arc::new);
        }
        let common = (plan.id, key.owner_id.is_some());
        // A plan that was changed is another: keys that were read before keep the former terms until they are read again.
        let same = |terms: &Arc<Terms>| terms.plan == plan && !terms.is_outdated();
        if let Some(terms) = held.terms.get(&common).and_then(Weak::upgrade).filter(same) {
            return Ok(terms);
        }
        let outdated = held.outdated(&plan);
        let terms = Arc::new(Terms::new(plan, key, outdated)?);
        held.terms.retain(|_, terms| terms.strong_count() > 0);
        held.terms.insert(common, Arc::downgrade(&terms));
        Ok(terms)
    }

    /// Whatever was made from the plan of this name so far counts as outdated.
    pub(crate) fn forget_plan(&self, tenant_id: TenantId, name: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outdated) = held.plans.remove(&(tenant_id, name.to_owned())).and_then(|plan| plan.upgrade()) {
            outdated.store(true, Ordering::Release);
        }
    }
}

impl Common {
    fn outdated(&mut self, plan: &Plan) -> Outdated {
        let name = (plan.tenant_id, plan.name.clone());
        if let Some(outdated) = self.plans.get(&name).and_then(Weak::upgrade) {
            return outdated;
        }
        let outdated = Outdated::default();
        self.plans.retain(|_, plan| plan.strong_count() > 0);
        self.plans.insert(name, Arc::downgrade(&outdated));
        outdated
    }
}

/// The counter of a billing period: a calendar month in UTC. Its size is not part of its identity.
pub(crate) fn quota_limit(limit: u64) -> Result<Limit, InvalidQuota> {
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    Ok(Limit::new(QUOTA, Quota::fixed_window(limit, month)?))
}

/// A limit of a plan or key as the limiter knows it.
fn to_limit(spec: &LimitSpec) -> Result<Limit, InvalidQuota> {
    let length = std::time::Duration::from_secs(spec.window);
    let quota = match (spec.algorithm, &spec.calendar) {
        (Algorithm::SlidingWindow, _) => Quota::sliding_window(spec.limit, Window::Every(length))?,
        (Algorithm::SlidingLog, _) => Quota::sliding_log(spec.limit, length)?,
        (Algorithm::FixedWindow, None) => Quota::fixed_window(spec.limit, Window::Every(length))?,
        (Algorithm::FixedWindow, Some(calendar)) => Quota::fixed_window(spec.limit, calendar_window(calendar)?)?,
        (Algorithm::TokenBucket, _) => Quota::token_bucket(spec.limit, length, spec.burst.unwrap_or(spec.limit))?,
    };
    let on_failure = match spec.on_failure {
        OnFailure::Local => tollgate_limiter::OnFailure::Local,
        OnFailure::Allow => tollgate_limiter::OnFailure::Allow,
        OnFailure::Deny => tollgate_limiter::OnFailure::Deny,
    };
    Ok(Limit::new(spec.name.as_str(), quota).with_on_failure(on_failure).with_weight(spec.cost))
}

fn calendar_window(spec: &CalendarSpec) -> Result<Window, InvalidQuota> {
    let unit = match spec.unit {
        tollgate_domain::CalendarUnit::Minute => CalendarUnit::Minute,
        tollgate_domain::CalendarUnit::Hour => CalendarUnit::Hour,
        tollgate_domain::CalendarUnit::Day => CalendarUnit::Day,
        tollgate_domain::CalendarUnit::Week => CalendarUnit::Week,
        tollgate_domain::CalendarUnit::Month => CalendarUnit::Month,
        tollgate_domain::CalendarUnit::Year => CalendarUnit::Year,
    };
    // A stored zone was checked when it came in; one that a later zone table lacks counts as UTC.
    let calendar = Calendar::new(unit, spec.zone().unwrap_or(Tz::UTC));
    Ok(Window::Calendar(match spec.anchor_day {
        Some(day) => calendar.anchored_on_day(day)?,
        None => calendar,
    }))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tollgate_domain::ApiKeyId;
    use uuid::Uuid;

    use super::*;

    fn plan() -> Plan {
        Plan::defaults(TenantId::DEFAULT, DateTime::UNIX_EPOCH, || PlanId(Uuid::nil())).remove(0)
    }

    fn key(change: impl FnOnce(&mut ApiKey)) -> ApiKey {
        let mut key = crate::check::known_key::tests::key(ApiKeyId(Uuid::nil()), &plan());
        change(&mut key);
        key
    }

    #[test]
    fn keys_of_a_plan_share_their_terms_unless_they_differ() {
        let common = CommonTerms::default();
        let of = |key: &ApiKey, plan: Plan| common.of(key, plan).unwrap();
        let (plain, owned) = (key(|_| ()), key(|key| key.owner_id = Some("acme".into())));
        let terms = of(&plain, plan());
        assert!(Arc::ptr_eq(&terms, &of(&key(|key| key.name = "another".into()), plan())));
        assert!(!Arc::ptr_eq(&terms, &of(&owned, plan())), "an owner's keys share limits");
        let own = LimitSpec { limit: 7, ..plan().limits.remove(0) };
        let with_own = of(&key(|key| key.limits = vec![own.clone()]), plan());
        assert_eq!(with_own.specs.first(), Some(&own));
        let changed = Plan { limits: vec![own.clone()], version: 2, ..plan() };
        assert_eq!(of(&plain, changed).specs, [own]);
        assert_eq!(of(&plain, plan()).specs, terms.specs);
    }

    #[test]
    fn terms_that_no_key_has_any_more_are_not_held() {
        let common = CommonTerms::default();
        for n in 0..100 {
            drop(common.of(&key(|_| ()), Plan { id: PlanId(Uuid::from_u128(n)), ..plan() }).unwrap());
        }
        let held = common.0.lock().unwrap();
        assert!(held.terms.len() <= 1 && held.plans.len() <= 1);
    }
}
