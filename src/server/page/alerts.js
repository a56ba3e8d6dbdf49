// What a person should know of, and saying that one sees to it.

import { post } from "./api.js";
import { Table, h, number, setText, time, word } from "./dom.js";

const NAME = "sluice-name";

/// Asks who and what, and sends it.
class Form {
  constructor(changed) {
    this.changed = changed;
    this.title = h("h2", { id: "alert-title" });
    this.about = h("p", { class: "dim" });
    this.who = h("input", { id: "alert-who", autocomplete: "name", maxlength: "200", required: true });
    this.said = h("label", { for: "alert-text" });
    this.text = h("textarea", { id: "alert-text", rows: "3", maxlength: "2000" });
    this.error = h("p", { class: "error", role: "alert" });
    this.send = h("button", { type: "submit", class: "primary" });
    this.element = h("dialog", { "aria-labelledby": "alert-title" }, h("form", { method: "dialog", onsubmit: (event) => this.submit(event) },
      this.title, this.about, h("label", { for: "alert-who" }, "Your name"), this.who, this.said, this.text, this.error,
      h("div", { class: "row" }, h("button", { type: "button", onclick: () => this.element.close() }, "Cancel"), this.send)));
  }

  open(alert, resolve) {
    this.alert = alert;
    this.resolve = resolve;
    setText(this.title, resolve ? "Resolve" : "Acknowledge");
    setText(this.about, alert.message);
    setText(this.said, resolve ? "How it was resolved" : "Notes");
    setText(this.send, resolve ? "Resolve" : "Acknowledge");
    setText(this.error, "");
    this.who.value = localStorage.getItem(NAME) ?? "";
    this.text.value = "";
    this.element.showModal();
    (this.who.value ? this.text : this.who).focus();
  }

  async submit(event) {
    event.preventDefault();
    const who = this.who.value.trim();
    const text = this.text.value.trim() || null;
    localStorage.setItem(NAME, who);
    this.send.disabled = true;
    try {
      const [verb, body] = this.resolve ? ["resolve", { resolvedBy: who, resolution: text }] : ["acknowledge", { acknowledgedBy: who, notes: text }];
      await post(`/api/v1/monitoring/alerts/${encodeURIComponent(this.alert.id)}/${verb}`, body);
      this.element.close();
    } catch (error) {
      setText(this.error, error.message);
    }
    this.send.disabled = false;
    this.changed();
  }
}

export function alerts(state, refresh) {
  const form = new Form(refresh);
  const said = h("p", { class: "dim" });
  let all = false;
  const only = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    all = !all;
    only.setAttribute("aria-pressed", String(all));
    view.update();
  } }, "With resolved ones");
  const told = (row) => {
    if (row.withheld) return `withheld: ${row.withheld}`;
    return row.notifications.map((one) => `${one.channel} ${one.outcome}`).join(", ");
  };
  const seen = (row) => {
    if (row.resolved_at) return `resolved by ${row.resolved_by ?? "nobody"}, ${time(row.resolved_at)}${row.resolution ? `: ${row.resolution}` : ""}`;
    if (row.acknowledged_at) return `${row.acknowledged_by ?? "somebody"}, ${time(row.acknowledged_at)}${row.notes ? `: ${row.notes}` : ""}`;
    return "";
  };
  const table = new Table("Alerts", [
    { head: "Severity", of: (row) => word(row.severity), className: "short" },
    { head: "Status", of: (row) => word(row.status.toLowerCase()), className: "short" },
    { head: "Type", of: (row) => (row.rule || row.type).replaceAll("_", " ") },
    { head: "Subject", of: (row) => row.subject },
    { head: "What", of: (row) => row.message, className: "wide" },
    { head: "Value", of: (row) => `${number(row.value, Number.isInteger(row.value) ? 0 : 1)} / ${number(row.threshold, Number.isInteger(row.threshold) ? 0 : 1)}`, number: true },
    { head: "Since", of: (row) => time(row.created_at), className: "short" },
    { head: "Seen to", of: seen },
    { head: "Told", of: told },
    { head: "Do", make: (current) => h("div", { class: "row" },
      h("button", { type: "button", onclick: () => form.open(current(), false) }, "Acknowledge"),
      h("button", { type: "button", onclick: () => form.open(current(), true) }, "Resolve")),
      refresh(cell, row) {
        const [acknowledge, resolve] = cell.firstChild.children;
        acknowledge.hidden = row.status !== "OPEN";
        resolve.hidden = row.status === "RESOLVED";
        for (const [button, verb] of [[acknowledge, "Acknowledge"], [resolve, "Resolve"]]) button.setAttribute("aria-label", `${verb} ${row.type} of ${row.subject}`);
      } },
  ], (row) => row.id, "No alerts.");
  const view = {
    title: "Alerts", wants: ["alerts"],
    element: h("div", {}, h("div", { class: "row" }, only), said, table.element, form.element),
    update() {
      if (!state.alerts) return;
      const live = state.alerts.filter((alert) => alert.status !== "RESOLVED");
      setText(said, `${live.length} go on, ${state.alerts.length - live.length} of the last are over.`);
      table.update(all ? state.alerts : live);
    },
  };
  return view;
}
