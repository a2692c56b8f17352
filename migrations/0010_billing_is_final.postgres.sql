-- Numbers and lines of a record that was written are final, whoever writes.
create function billing_is_final() returns trigger language plpgsql as $$
begin raise exception 'a closed billing record does not change (%.%)', tg_table_name, lower(tg_op); end $$;
create trigger billing_records_are_final before update on billing_records for each row
when (row(old.tenant_id, old.id, old.number, old.api_key_id, old.environment, old.tier, old.period_start, old.revision,
        old.currency, old.units, old.overage_units, old.subtotal, old.credits_applied, old.total, old.rounding, old.amount_due,
        old.amount_due_minor, old.complete, old.holder_hash, old.digest, old.closed_at, old.due_at)
    is distinct from row(new.tenant_id, new.id, new.number, new.api_key_id, new.environment, new.tier, new.period_start,
        new.revision, new.currency, new.units, new.overage_units, new.subtotal, new.credits_applied, new.total, new.rounding,
        new.amount_due, new.amount_due_minor, new.complete, new.holder_hash, new.digest, new.closed_at, new.due_at)
    or (old.status = 'void' and new.status <> 'void'))
execute function billing_is_final();
create trigger billing_records_stay before delete on billing_records for each row execute function billing_is_final();
create trigger billing_lines_are_final before update or delete on billing_lines for each row execute function billing_is_final();
create trigger billing_units_are_final before update or delete on billing_units for each row execute function billing_is_final();
