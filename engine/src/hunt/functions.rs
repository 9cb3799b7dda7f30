//! Functions that SQL typed by people may call.
//!
//! A list of what is allowed, not of what is forbidden: a function that a later DataFusion brings is out until
//! somebody has asked how much memory one call can take. Left out on purpose are those that make much from
//! little (`repeat`, `lpad`, `rpad`, `array_repeat`, `array_resize`, `range`, `generate_series`) and those that
//! show files or internals (`input_file_name`, `file_row_index`, `arrow_metadata`, `with_metadata`).

use datafusion::common::utils::datafusion_strsim::levenshtein;

const TEXT: &str = "\
    ascii bit_length btrim char_length character_length chr concat concat_ws contains ends_with \
    find_in_set initcap instr left length levenshtein lower ltrim octet_length overlay position \
    regexp_count regexp_instr regexp_like regexp_match regexp_replace replace reverse right rtrim \
    split_part starts_with strpos substr substr_index substring substring_index to_hex translate trim \
    upper encode decode";
const TIME: &str = "\
    current_date current_time current_timestamp date_bin date_format date_part date_trunc datepart \
    datetrunc from_unixtime make_date make_time now to_char to_date to_local_time to_time to_timestamp \
    to_timestamp_micros to_timestamp_millis to_timestamp_nanos to_timestamp_seconds to_unixtime today";
const NUMBER: &str = "\
    abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh cot degrees exp factorial floor gcd \
    isnan iszero lcm ln log log10 log2 nanvl pi pow power radians rand random round signum sin sinh sqrt \
    tan tanh trunc";
const CHOICE: &str = "\
    coalesce greatest ifnull least nullif nvl nvl2 arrow_cast arrow_try_cast arrow_typeof uuid version";
const LIST: &str = "\
    array_any_value array_append array_cat array_compact array_concat array_contains array_distinct \
    array_element array_empty array_except array_extract array_has array_has_all array_has_any \
    array_indexof array_intersect array_join array_length array_max array_min array_ndims array_position \
    array_positions array_prepend array_remove array_remove_all array_reverse array_slice array_sort \
    array_sum array_to_string array_union arrays_overlap arrays_zip cardinality element_at empty flatten \
    get_field list_contains list_distinct list_element list_has list_join list_length list_sort \
    list_to_string make_array make_list map map_entries map_extract map_keys map_values named_struct row \
    string_to_array string_to_list struct union_extract union_tag unnest";
const JSON: &str = "\
    json_as_text json_contains json_from_scalar json_get json_get_array json_get_bool json_get_float \
    json_get_int json_get_json json_get_str json_keys json_len json_length json_object_keys \
    json_union_to_text scalar_to_json";
const AGGREGATE: &str = "\
    any_value approx_distinct approx_median approx_percentile_cont approx_percentile_cont_with_weight \
    array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar covar_pop covar_samp \
    first_value grouping last_value max mean median min nth_value percentile_cont quantile_cont \
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev \
    stddev_pop stddev_samp string_agg sum var var_pop var_population var_samp var_sample";
const WINDOW: &str = "\
    cume_dist dense_rank lag lead ntile percent_rank rank row_number";
/// The engine's own.
const OWN: &str = "\
    geo_distance_km ip_in_cidr is_public_ip k8s_request k8s_response sequence_match within without";

fn allowed() -> impl Iterator<Item = &'static str> {
    [
        TEXT, TIME, NUMBER, CHOICE, LIST, JSON, AGGREGATE, WINDOW, OWN,
    ]
    .into_iter()
    .flat_map(str::split_ascii_whitespace)
}

/// Why a function is refused; none if it is allowed. `name` as it was written.
pub fn refusal(name: &str) -> Option<String> {
    let name = name.replace('"', "").to_lowercase();
    if allowed().any(|allowed| allowed == name) {
        return None;
    }
    let near = allowed().min_by_key(|allowed| levenshtein(allowed, &name));
    let near = near.filter(|near| levenshtein(near, &name) <= 2);
    Some(match (name.as_str(), near) {
        ("repeat" | "lpad" | "rpad", _) => {
            format!("function {name} is refused: one call can make gigabytes of text")
        }
        (
            "array_repeat" | "list_repeat" | "array_resize" | "list_resize" | "range"
            | "generate_series",
            _,
        ) => {
            format!(
                "function {name} is refused: one call can make gigabytes of values; group events by date_bin(…) to get a series"
            )
        }
        (_, Some(near)) => format!("function {name} is unknown or refused; did you mean {near}?"),
        _ => format!(
            "function {name} is unknown or refused; the functions allowed are listed in docs/archive-and-sql.md"
        ),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn every_allowed_function_exists() {
        let mut ctx = SessionContext::new();
        crate::functions::register(&mut ctx).expect("registers");
        let state = ctx.state();
        for name in allowed() {
            let known = state.scalar_functions().contains_key(name)
                || state.aggregate_functions().contains_key(name)
                || state.window_functions().contains_key(name);
            assert!(known || name == "unnest", "{name}"); // which is syntax
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_instead() {
        assert_eq!(refusal("COUNT"), None);
        assert_eq!(refusal("\"upper\""), None);
        let reason = |name| refusal(name).unwrap_or_default();
        assert!(reason("repeat").contains("gigabytes"));
        assert!(reason("uper").contains("did you mean upper?"));
        assert!(reason("pg_sleep").contains("unknown or refused"));
        assert!(reason("input_file_name").contains("unknown or refused"));
    }
}
