// Purges the store. The token is read from its field when it is needed and kept nowhere else.

/** What a purge is asked for by, from what was typed. */
const asked = (by, what) => {
  if (by === "all") return { all: true };
  return by === "tags" ? { tags: what.split(/[\s,]+/).filter(Boolean) } : { [by]: what.trim() };
};

const counted = ({ objects = 0, bytes = 0 } = {}) => `${objects} (${(bytes / 1e6).toFixed(1)} MB)`;

export class Purging {
  #form;
  #said;

  constructor(form, said) {
    this.#form = form;
    this.#said = said;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    const { by, what } = form.elements;
    by.addEventListener("change", () => {
      what.disabled = by.value === "all";
    });
  }

  async #send() {
    const { by, what, soft, token } = this.#form.elements;
    this.#say("…", "waiting");
    try {
      const answer = await fetch("/admin/store/purge", {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${token.value}` },
        body: JSON.stringify({ ...asked(by.value, what.value), soft: soft.checked }),
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
      const body = await answer.json();
      if (!answer.ok) {
        this.#say(`Not purged: ${body.detail ?? answer.statusText}`, "failed");
        return;
      }
      const disk = body.disk ? `, on disk ${counted(body.disk)}` : "";
      this.#say(`${soft.checked ? "Made stale" : "Purged"}: in memory ${counted(body.memory)}${disk}.`, "done");
    } catch (error) {
      this.#say(`Not purged: ${error.message}`, "failed");
    }
  }

  #say(text, state) {
    this.#said.textContent = text;
    this.#said.dataset.state = state;
  }
}
