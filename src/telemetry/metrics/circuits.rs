//! Circuit breakers.

use metrics::{Counter, Gauge, counter, gauge};

use crate::breaker::BreakerState;

super::metrics! {
    CIRCUIT_STATE = Gauge "sluice_circuit_state" ["kind", "name", "state"]
        "1 for the state that a circuit breaker is in, 0 for the others";
    CIRCUIT_OPENINGS = Counter "sluice_circuit_openings_total" ["kind", "name"]
        "How often a circuit breaker opened by itself";
}

/// Figures of one circuit breaker.
pub struct CircuitMetrics {
    states: [(BreakerState, Gauge); 3],
    openings: Counter,
}

impl CircuitMetrics {
    /// The handles of the breaker before an upstream or a sink.
    pub fn new(kind: &'static str, name: &str) -> Self {
        let state = |state: BreakerState| gauge!(CIRCUIT_STATE, "kind" => kind, "name" => name.to_owned(), "state" => state.as_str());
        let openings = counter!(CIRCUIT_OPENINGS, "kind" => kind, "name" => name.to_owned());
        openings.absolute(0);
        Self { states: BreakerState::ALL.map(|each| (each, state(each))), openings }
    }

    /// It is in this state.
    pub fn set_state(&self, now: BreakerState) {
        for (state, gauge) in &self.states {
            gauge.set(if *state == now { 1.0 } else { 0.0 });
        }
    }

    /// It opened by itself.
    pub fn opened(&self) {
        self.openings.increment(1);
    }
}
