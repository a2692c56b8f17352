//! One suite of stories, run on every store.
use beyond::*;
use limits::*;
use reservations::*;
use windows::*;

mod beyond;
mod limits;
mod reservations;
mod windows;

macro_rules! stories {
    ($($name:ident)*) => {
        mod memory {
            use crate::harness::Store;
            $(#[tokio::test] async fn $name() { super::$name(&Store::memory().await).await })*
        }
        mod redis {
            use crate::harness::Store;
            $(#[tokio::test] async fn $name() { super::$name(&Store::redis().await).await })*
        }
    };
}

stories! {
    a_limit_admits_exactly_as_much_as_it_says
    a_refusal_consumes_nothing
    all_limits_consume_or_none_does
    several_subjects_consume_or_none_does
    cost_zero_looks
    a_peek_answers_as_a_check_would_and_takes_nothing
    a_limit_with_nothing_left_says_when_one_unit_fits
    the_limit_that_holds_up_longest_is_the_most_constrained
    a_cost_above_the_limit_never_fits
    a_cost_above_any_kind_of_limit_never_fits
    a_fixed_window_starts_anew
    a_sliding_window_forgets_evenly
    a_log_lets_units_go_exactly_one_window_after_they_came
    a_log_never_holds_up_longer_than_its_window
    a_log_of_the_largest_size_admits_all_of_it
    a_log_that_only_counts_stays_bounded
    a_raised_limit_helps_at_once
    a_lowered_limit_counts_what_was_used
    a_changed_window_starts_anew
    a_limit_that_only_counts_never_refuses
    a_floor_raises_the_counter_of_its_period
    a_floor_of_another_period_does_nothing
    a_raise_never_lowers
    a_reset_gives_everything_back
    subjects_do_not_share_counters
    a_calendar_month_ends_when_the_month_does
    a_clock_that_steps_back_gives_nothing_away
    a_clock_that_was_a_day_ahead_does_not_block
    an_impossible_check_is_refused_with_its_reason
    many_limits_that_come_and_go_are_forgotten
    a_bucket_lets_through_what_it_holds_and_what_flows_in
    a_bucket_of_another_size_keeps_what_was_taken
    a_decision_that_is_undone_consumed_nothing
    a_refund_gives_back_what_still_counts
    a_refund_of_a_past_window_gives_nothing
    a_weight_multiplies_the_cost
    within_a_quota_what_applies_beyond_it_costs_nothing
    beyond_a_quota_another_limit_refuses_and_says_until_when
    a_cost_that_exceeds_what_is_left_of_a_quota_must_fit_beyond_it
    beyond_a_quota_all_limits_consume_or_none_does
    a_new_period_ends_what_applies_beyond_a_quota
    a_cost_that_never_fits_beyond_a_quota_waits_for_the_next_period
    a_floor_decides_what_is_beyond_a_quota
    a_raised_quota_ends_what_applies_beyond_it
    a_decision_beyond_a_quota_is_undone_there_too
    a_limit_beyond_nothing_is_refused
    slots_are_held_until_they_are_released
    a_slot_that_is_not_renewed_frees_itself
    a_slot_taken_again_under_its_name_is_the_same_slot
    a_refused_slot_consumes_nothing_of_the_other_limits
    a_reservation_is_committed_at_its_actual_cost
    a_reservation_that_is_cancelled_consumed_nothing
    a_reservation_that_is_forgotten_frees_itself
    a_late_commit_still_counts
    reservations_say_when_there_will_be_room
    a_subject_holds_a_bounded_number
}
