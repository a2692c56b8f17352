//! The limits that a plan's keys share, in the limiter's form. They are stored once for all of these keys, so that a
//! check finds most of what it needs in the processor's cache, however many keys there are.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use tollgate_domain::{Algorithm, ApiKey, CalendarSpec, LimitSpec, OnFailure, Overage, Per, Plan, PlanId, TenantId};
use tollgate_limiter::{Calendar, CalendarUnit, InvalidQuota, Limit, LimitStatus, Mode, Quota, Tz, Window};

use super::{
    http_text::LimitsText,
    spend_cap::{SPEND_CAP, SpendCap},
};

/// Name of the limit that stands for the period's quota.
pub const QUOTA: &str = "quota";

/// A key's limits, from its plan and its own record.
pub struct EffectiveLimits {
    /// The plan.
    pub plan: Plan,
    /// The limits in force, without the quota: first those counted per key, then those that the owner's keys share, then
    /// what applies beyond the quota.
    pub specs: Vec<LimitSpec>,
    /// The limiter's form of the limits counted per key, followed by the quota if the plan has one, and by what applies
    /// beyond it.
    pub(crate) own: Vec<Limit>,
    /// The limiter's form of the limits that the owner's keys share.
    pub(crate) shared: Vec<Limit>,
    /// The parts of an HTTP answer that are the same for all keys with these limits.
    pub http_text: OnceLock<LimitsText>,
    outdated: Outdated,
}

/// Set when the plan has changed. One flag for everything that was made from the same version of the plan.
type Outdated = Arc<AtomicBool>;

/// The limits of plans, while any key uses them.
#[derive(Default)]
pub(crate) struct LimitsPool(Mutex<Common>);

#[derive(Default)]
struct Common {
    limits: HashMap<CommonKey, Weak<EffectiveLimits>>,
    /// The flags of plans in use, by tenant and name.
    plans: HashMap<(TenantId, String), Weak<AtomicBool>>,
}

/// A plan, whether the key has an owner with whose keys it shares limits, and the units of its spend cap.
type CommonKey = (PlanId, bool, Option<u64>);

impl EffectiveLimits {
    fn new(plan: Plan, key: &ApiKey, cap: Option<u64>, outdated: Outdated) -> Result<Self, InvalidQuota> {
        let of_owner = |spec: &LimitSpec| spec.per == Per::Owner && key.owner_id.is_some();
        let mut specs = key.effective_limits(&plan.limits);
        specs.extend(cap.map(SpendCap::spec));
        specs.sort_by_key(of_owner);
        let all = specs.iter().map(to_limit).collect::<Result<Vec<_>, _>>()?;
        let (mut own, mut shared) = (all, Vec::new());
        shared.extend(own.drain(specs.iter().filter(|spec| !of_owner(spec)).count()..));
        if let Some(quota) = &plan.quota {
            let mode = match quota.overage {
                Overage::Block => Mode::Enforce,
                Overage::Bill | Overage::Throttle => Mode::Count,
            };
            own.push(quota_limit(quota.limit)?.with_mode(mode));
            if let Some(overage) = quota.throttle_limit() {
                own.push(to_limit(&overage)?.with_mode(Mode::Beyond));
                specs.push(overage);
            }
        }
        Ok(Self { plan, specs, own, shared, http_text: OnceLock::new(), outdated })
    }

    /// Whether the plan has changed since these limits were made.
    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    /// Approximate bytes of the limits of a key that has its own.
    pub(crate) fn size(&self) -> usize {
        let limits = self.own.len() + self.shared.len();
        size_of::<Self>() + limits * (size_of::<Limit>() + size_of::<LimitSpec>() + 128)
    }

    /// Every limit, in the order of a decision's statuses: per key, the quota, what applies beyond it, per owner.
    pub fn all(&self) -> impl Iterator<Item = &Limit> {
        self.own.iter().chain(&self.shared)
    }

    /// The limits of the specifications, in their order: all except the quota, and last what applies beyond it.
    pub fn rate_limits(&self) -> impl Iterator<Item = &Limit> {
        let overage = self.overage_index().and_then(|index| self.own.get(index));
        let per_key = self.quota_index().unwrap_or(self.own.len());
        self.own.iter().take(per_key).chain(&self.shared).chain(overage)
    }

    /// The limit to which a status in a decision belongs.
    pub fn limit_of(&self, status: &LimitStatus) -> Option<&Limit> {
        let part = if status.part() == 0 { &self.own } else { &self.shared };
        part.get(status.index())
    }

    /// Index of the spend cap among [`EffectiveLimits::all`], if the key has one.
    pub(crate) fn cap_index(&self) -> Option<usize> {
        self.own.iter().position(|limit| limit.name() == SPEND_CAP)
    }

    /// Index of the quota among [`EffectiveLimits::all`], if the plan has one.
    pub fn quota_index(&self) -> Option<usize> {
        let behind = self.plan.quota.as_ref()?.throttled().map_or(0, |_| 1);
        self.own.len().checked_sub(1 + behind)
    }

    /// Index of what applies beyond the quota among [`EffectiveLimits::all`], if anything does.
    pub fn overage_index(&self) -> Option<usize> {
        self.plan.quota.as_ref()?.throttled()?;
        self.own.len().checked_sub(1)
    }
}

impl LimitsPool {
    /// A key's limits: its plan's, unless the key has its own.
    pub(crate) fn of(&self, key: &ApiKey, plan: Plan, cap: Option<u64>) -> Result<Arc<EffectiveLimits>, InvalidQuota> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !key.limits.is_empty() {
            let outdated = held.outdated(&plan);
            drop(held);
            return EffectiveLimits::new(plan, key, cap, outdated).map(Arc::new);
        }
        let common = (plan.id, key.owner_id.is_some(), cap);
        // A changed plan is a different one: keys read before the change keep the old limits until they are read again.
        let same = |limits: &Arc<EffectiveLimits>| limits.plan == plan && !limits.is_outdated();
        if let Some(limits) = held.limits.get(&common).and_then(Weak::upgrade).filter(same) {
            return Ok(limits);
        }
        let outdated = held.outdated(&plan);
        let limits = Arc::new(EffectiveLimits::new(plan, key, cap, outdated)?);
        held.limits.retain(|_, limits| limits.strong_count() > 0);
        held.limits.insert(common, Arc::downgrade(&limits));
        Ok(limits)
    }

    /// Marks everything that was made from the plan of this name as outdated.
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

/// The counter of a billing period, which is a calendar month in UTC. Its size is not part of its identity.
pub(crate) fn quota_limit(limit: u64) -> Result<Limit, InvalidQuota> {
    let month = Window::Calendar(Calendar::new(CalendarUnit::Month, Tz::UTC));
    Ok(Limit::new(QUOTA, Quota::fixed_window(limit, month)?))
}

/// The limiter's form of a plan's or key's limit.
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
    // A stored zone was validated when it was set. If a later zone table lacks it, UTC is used.
    let calendar = Calendar::new(unit, spec.zone().unwrap_or(Tz::UTC));
    Ok(Window::Calendar(match spec.anchor_day {
        Some(day) => calendar.anchored_on_day(day)?,
        None => calendar,
    }))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tollgate_domain::{ApiKeyId, QuotaSpec, Throttle};
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
        let common = LimitsPool::default();
        let of = |key: &ApiKey, plan: Plan| common.of(key, plan, None).unwrap();
        let (plain, owned) = (key(|_| ()), key(|key| key.owner_id = Some("acme".into())));
        let limits = of(&plain, plan());
        assert!(Arc::ptr_eq(&limits, &of(&key(|key| key.name = "another".into()), plan())));
        assert!(!Arc::ptr_eq(&limits, &of(&owned, plan())), "an owner's keys share limits");
        let own = LimitSpec { limit: 7, ..plan().limits.remove(0) };
        let with_own = of(&key(|key| key.limits = vec![own.clone()]), plan());
        assert_eq!(with_own.specs.first(), Some(&own));
        let changed = Plan { limits: vec![own.clone()], version: 2, ..plan() };
        assert_eq!(of(&plain, changed).specs, [own]);
        assert_eq!(of(&plain, plan()).specs, limits.specs);
    }

    #[test]
    fn what_applies_beyond_a_quota_follows_it_and_is_told_last() {
        let quota =
            QuotaSpec { limit: 9, overage: Overage::Throttle, throttle: Some(Throttle { limit: 2, window: 1 }) };
        let shared = LimitSpec { per: Per::Owner, ..LimitSpec::sliding("shared", 5, 60) };
        let limits = vec![shared, LimitSpec::sliding("own", 7, 60)];
        let plan = Plan { quota: Some(quota), limits, ..plan() };
        let limits = LimitsPool::default().of(&key(|key| key.owner_id = Some("acme".into())), plan, None).unwrap();
        let names = |limits: &mut dyn Iterator<Item = &Limit>| limits.map(|l| l.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&mut limits.all()), ["own", "quota", "overage", "shared"]);
        assert_eq!(names(&mut limits.rate_limits()), ["own", "shared", "overage"]);
        assert_eq!(
            limits.specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(),
            ["own", "shared", "overage"]
        );
        assert_eq!((limits.quota_index(), limits.overage_index()), (Some(1), Some(2)));
        assert_eq!((limits.own[1].mode(), limits.own[2].mode()), (Mode::Count, Mode::Beyond));
    }

    #[test]
    fn terms_that_no_key_has_any_more_are_not_held() {
        let common = LimitsPool::default();
        for n in 0..100 {
            drop(common.of(&key(|_| ()), Plan { id: PlanId(Uuid::from_u128(n)), ..plan() }, None).unwrap());
        }
        let held = common.0.lock().unwrap();
        assert!(held.limits.len() <= 1 && held.plans.len() <= 1);
    }
}
