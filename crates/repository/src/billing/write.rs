//! Records and all that belongs to them, as they are written: once, and never changed.

use chrono::{DateTime, Utc};
use tollgate_domain::{TenantId, billing::close::Closed};

use crate::{
    Error,
    core::{
        database::Tx,
        rows::{Rows, parts},
        time::micros,
    },
};

const RECORDS: Rows = Rows {
    head: "insert into billing_records (tenant_id, id, number, api_key_id, api_key_name, owner_id, environment, tier,
            period_start, revision, currency, units, overage_units, subtotal, credits_applied, total, rounding, amount_due,
            amount_due_minor, complete, holder_hash, digest, closed_at, due_at, status, payment_status, amount_paid, paid_at,
            version)",
    width: 29,
    tail: "",
};
const LINES: Rows = Rows {
    head: "insert into billing_lines (tenant_id, record_id, position, kind, price_id, tier_name, tier, segment_start,
            segment_end, share, period_start, quantity, unit_amount, amount, corrects_record_id)",
    width: 15,
    tail: "",
};
const UNITS: Rows = Rows {
    head: "insert into billing_units (tenant_id, record_id, period_start, price_id, units, amount)",
    width: 6,
    tail: "",
};
const APPLICATIONS: Rows = Rows {
    head: "insert into credit_applications (tenant_id, grant_id, record_id, amount, applied_at)",
    width: 5,
    tail: "",
};

/// Writes records of keys whose accounts this transaction holds.
pub(super) async fn records(tx: &mut Tx, closed: &[(TenantId, Closed)], now: DateTime<Utc>) -> Result<(), Error> {
    for part in parts(tx, closed) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(RECORDS.text(part.len()));
            for (tenant, Closed { record, .. }) in part {
                query = query.bind(tenant.0).bind(record.id.0).bind(&record.number).bind(record.api_key_id.0);
                query = query.bind(&record.api_key_name).bind(&record.owner_id).bind(record.environment.as_str());
                query = query.bind(&record.tier).bind(record.period.start).bind(whole(record.revision)?);
                query = query.bind(record.currency.to_string()).bind(count(record.units)?).bind(count(record.overage_units)?);
                query = query.bind(record.subtotal.0).bind(record.credits_applied.0).bind(record.total.0);
                query = query.bind(record.rounding.0).bind(record.amount_due.0).bind(record.amount_due_minor);
                query = query.bind(record.complete).bind(&record.holder_hash[..]).bind(&record.digest[..]);
                query = query.bind(record.closed_at.map(micros)).bind(record.due_at.map(micros));
                query = query.bind(record.status.as_str()).bind(record.payment_status.map(|status| status.as_str()));
                query = query.bind(record.amount_paid.0).bind(record.paid_at.map(micros)).bind(record.version);
            }
            query.execute(&mut **t).await?;
        });
    }
    lines(tx, closed).await?;
    units(tx, closed).await?;
    credits(tx, closed, now).await
}

async fn lines(tx: &mut Tx, closed: &[(TenantId, Closed)]) -> Result<(), Error> {
    let of = |(tenant, closed): &'_ (TenantId, Closed)| {
        let (tenant, record) = (*tenant, closed.record.id);
        closed.lines.clone().into_iter().map(move |line| (tenant, record, line))
    };
    let lines: Vec<_> = closed.iter().flat_map(of).collect();
    for part in parts(tx, &lines) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(LINES.text(part.len()));
            for (tenant, record, line) in part {
                let segment = line.segment.as_ref();
                query = query.bind(tenant.0).bind(record.0).bind(whole(line.position)?).bind(line.kind.as_str());
                query = query.bind(line.price_id.map(|id| id.0)).bind(&line.tier_name);
                query = query.bind(line.tier.map(whole).transpose()?);
                query = query.bind(segment.map(|of| micros(of.start))).bind(segment.map(|of| micros(of.end)));
                query = query.bind(segment.map(|of| of.share.as_str())).bind(line.period.start);
                query = query.bind(count(line.quantity)?).bind(line.unit_amount.map(|unit| unit.to_string()));
                query = query.bind(line.amount.0).bind(line.corrects_record_id.map(|id| id.0));
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

async fn units(tx: &mut Tx, closed: &[(TenantId, Closed)]) -> Result<(), Error> {
    let of = |(tenant, closed): &'_ (TenantId, Closed)| {
        let (tenant, record) = (*tenant, closed.record.id);
        closed.billed.clone().into_iter().map(move |billed| (tenant, record, billed))
    };
    let units: Vec<_> = closed.iter().flat_map(of).collect();
    for part in parts(tx, &units) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(UNITS.text(part.len()));
            for (tenant, record, billed) in part {
                query = query.bind(tenant.0).bind(record.0).bind(billed.period_start).bind(billed.price_id.0);
                query = query.bind(billed.units).bind(billed.amount.0);
            }
            query.execute(&mut **t).await?;
        });
    }
    Ok(())
}

/// What grants pay, and a grant of what corrections left over. Its id is made of the record's.
async fn credits(tx: &mut Tx, closed: &[(TenantId, Closed)], now: DateTime<Utc>) -> Result<(), Error> {
    let of = |(tenant, closed): &'_ (TenantId, Closed)| {
        let (tenant, record) = (*tenant, closed.record.id);
        closed.applied.clone().into_iter().map(move |(grant, amount)| (tenant, grant, record, amount))
    };
    let applied: Vec<_> = closed.iter().flat_map(of).collect();
    for part in parts(tx, &applied) {
        on!(&mut *tx, t => {
            let mut query = sqlx::query(APPLICATIONS.text(part.len()));
            for (tenant, grant, record, amount) in part {
                query = query.bind(tenant.0).bind(grant.0).bind(record.0).bind(amount.0).bind(micros(now));
            }
            query.execute(&mut **t).await?;
        });
    }
    let grant = "
        insert into credit_grants (tenant_id, id, api_key_id, amount, currency, priority, effective_at, reason, prepaid,
            source, created_at, version)
        values ($1, $2, $3, $4, $5, 0, $6, $7, false, 'correction', $8, 1)";
    for (tenant, Closed { record, left_over, .. }) in closed.iter().filter(|(_, closed)| closed.left_over.0 > 0) {
        let reason = format!("left over from {}", record.number);
        on!(&mut *tx, t => sqlx::query(grant)
            .bind(tenant.0).bind(record.id.0).bind(record.api_key_id.0).bind(left_over.0)
            .bind(record.currency.to_string()).bind(record.period.start).bind(reason).bind(micros(now))
            .execute(&mut **t).await.map(|_| ()))?;
    }
    Ok(())
}

fn count(units: u64) -> Result<i64, Error> {
    i64::try_from(units).map_err(|error| Error::Corrupt(format!("a number of units: {error}")))
}

fn whole(number: u32) -> Result<i32, Error> {
    i32::try_from(number).map_err(|error| Error::Corrupt(format!("a position: {error}")))
}
