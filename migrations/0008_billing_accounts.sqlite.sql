-- Keys that are there are billed from the newest month on that anybody used, or from the month they were made in if that is
-- later: what was before is not owed to a service that sent no bills.
insert into billing_accounts (tenant_id, api_key_id, next_period, ended_at)
select k.tenant_id, k.id, case when n.newest > k.month then n.newest else k.month end, k.ended_at
from (
    select tenant_id, id, substr(created_at, 1, 7) || '-01T00:00:00+00:00' as month,
        case when deleted_at is not null then deleted_at when status = 'revoked' then updated_at end as ended_at
    from api_keys where environment = 'live'
) k
cross join (select max(period_start) as newest from usage_periods) n;
