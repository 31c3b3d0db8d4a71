// The dialog that asks for the server's API key.
import { byId } from "./element.ts";

/** @param refused whether a key was tried already; resolves with undefined when the user gives none */
export function askForKey(refused: boolean): Promise<string | undefined> {
  const dialog = byId("key-dialog", HTMLDialogElement), input = byId("key-input", HTMLInputElement);
  const reason = byId("key-reason", HTMLElement);
  reason.textContent = refused
    ? "The server does not know this key. Check it, and try again."
    : "It is kept in this tab until you close it, and sent to this server alone.";
  input.value = "";
  const answer = Promise.withResolvers<string | undefined>(), closed = new AbortController();
  const { signal } = closed;
  function close(key: string | undefined): void {
    closed.abort();
    dialog.close();
    input.value = "";
    answer.resolve(key);
  }
  byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault(); // The policy lets no form go anywhere, either.
    const key = input.value.trim();
    if (key !== "") close(key);
  }, { signal });
  byId("key-cancel", HTMLButtonElement).addEventListener("click", () => close(undefined), { signal });
  dialog.addEventListener("cancel", () => close(undefined), { signal });
  dialog.showModal();
  input.focus();
  return answer.promise;
}
