// Asking the daemon. The token is wanted once a tab and goes into a header, never into an address.

const KEPT = "sluice-token";

/// An answer that is no answer: `status` 0 where nobody answered at all.
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

let asking = null;

export const token = () => sessionStorage.getItem(KEPT);

export function forget() {
  sessionStorage.removeItem(KEPT);
}

/// Asks for a token until one is taken; whoever needs one meanwhile waits for the same answer.
function askForToken(why) {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("login");
    const field = document.getElementById("token");
    const error = document.getElementById("login-error");
    error.textContent = why ?? "";
    // Without a token there is nothing to see behind it.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    const form = dialog.querySelector("form");
    form.addEventListener("submit", function submit(event) {
      event.preventDefault();
      sessionStorage.setItem(KEPT, field.value.trim());
      field.value = "";
      form.removeEventListener("submit", submit);
      dialog.close();
      asking = null;
      resolve();
    });
    if (!dialog.open) dialog.showModal();
    field.focus();
  });
  return asking;
}

async function once(method, path, body, headers) {
  const shown = token();
  const init = { method, headers: { ...headers }, cache: "no-store", signal: AbortSignal.timeout(15000) };
  if (shown) init.headers.Authorization = `Bearer ${shown}`;
  if (body !== undefined) {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  try {
    return [shown, await fetch(path, init)];
  } catch {
    throw new Refused(0, "the daemon does not answer");
  }
}

/// The answer to a question, as it comes.
export async function ask(method, path, body, headers) {
  for (;;) {
    if (asking) await asking;
    const [shown, answer] = await once(method, path, body, headers);
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    const detail = problem.detail ?? `${answer.status} ${answer.statusText}`;
    if (answer.status !== 401) throw new Refused(answer.status, detail);
    // Another question may have brought a token since.
    if (token() !== shown) continue;
    forget();
    await askForToken(shown ? detail : null);
  }
}

export async function get(path) {
  const answer = await ask("GET", path);
  try {
    return await answer.json();
  } catch {
    throw new Refused(0, "the daemon broke off");
  }
}

export const post = async (path, body) => (await ask("POST", path, body)).json();

/// Objects of an answer in JSON lines, each as it comes, so that a day of them is never one text.
export async function lines(path, take) {
  const answer = await ask("GET", path, undefined, { Accept: "application/jsonl" });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) take(JSON.parse(part));
  }
  if (rest) take(JSON.parse(rest));
}
