-- Numbers and lines of a record that was written are final, whoever writes.
create trigger billing_records_are_final before update on billing_records
when old.tenant_id <> new.tenant_id or old.id <> new.id or old.number <> new.number or old.api_key_id <> new.api_key_id
    or old.environment <> new.environment or old.tier <> new.tier or old.period_start <> new.period_start
    or old.revision <> new.revision or old.currency <> new.currency or old.units <> new.units
    or old.overage_units <> new.overage_units or old.subtotal <> new.subtotal
    or old.credits_applied <> new.credits_applied or old.total <> new.total or old.rounding <> new.rounding
    or old.amount_due <> new.amount_due or old.amount_due_minor <> new.amount_due_minor or old.complete <> new.complete
    or old.holder_hash <> new.holder_hash or old.digest <> new.digest or old.closed_at <> new.closed_at
    or old.due_at <> new.due_at or (old.status = 'void' and new.status <> 'void')
begin select raise(abort, 'a closed billing record does not change'); end;
create trigger billing_records_stay before delete on billing_records
begin select raise(abort, 'a closed billing record stays'); end;
create trigger billing_lines_are_final before update on billing_lines
begin select raise(abort, 'a line of a billing record does not change'); end;
create trigger billing_lines_stay before delete on billing_lines
begin select raise(abort, 'a line of a billing record stays'); end;
create trigger billing_units_are_final before update on billing_units
begin select raise(abort, 'billed units do not change'); end;
create trigger billing_units_stay before delete on billing_units
begin select raise(abort, 'billed units stay'); end;
