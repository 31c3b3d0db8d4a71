// The plugin of clients/vim in real Vim and Neovim, in a terminal: what is on the screen after which keys, what is in the
// file then, and what the server was asked.
import assert from "node:assert/strict";
import { fromFileUrl, join } from "std/path/mod.js";
import { CompletionServer } from "./completion_server.ts";
import { havePrograms } from "./programs.ts";
import { Terminal } from "./terminal.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url)).replace(/\/$/, "");
const BODY = "    return first + second\n    # the sum";
const FACE = "faces = '🙂漢', wide";
const FUNCTION = "def add(first, second):\n    \n\nprint(add(1, 2))\n";
const READY = "Hyades: ready · fake/model-1";

const EDITORS: Record<string, string> = {
  vim: "vim -N -u vimrc -i NONE",
  nvim: "nvim -u vimrc -i NONE",
};
const available = Deno.build.os === "linux" &&
  await havePrograms({ tmux: "tmux", vim: "vim", nvim: "neovim" });

interface Session extends AsyncDisposable {
  readonly server: CompletionServer;
  readonly terminal: Terminal;
  /** What the editor writes to the file. */
  readonly saved: () => Promise<string>;
}

async function edit(
  editor: string,
  text: string,
  {
    vimrc = "filetype plugin indent on | autocmd FileType * setlocal noexpandtab",
    settings = ", 'settings': {'debounce': 0, 'speculative': v:false, 'events': v:false}",
    startsSlowly = false,
  } = {},
): Promise<Session> {
  const server = await CompletionServer.start([BODY, FACE]);
  const folder = await Deno.makeTempDir(), file = join(folder, "adding.py");
  await Deno.writeTextFile(file, text);
  const late = startsSlowly ? ["sh", "-c", 'sleep 2; exec "$@"', "sh"] : [];
  const command = [...late, Deno.execPath(), "run", "--no-check", "-P=serve", "--config", `${ROOT}/deno.json`]
    .concat(`${ROOT}/main.ts`, "lsp", "--server", server.url);
  await Deno.writeTextFile(
    join(folder, "vimrc"),
    [
      "set nocompatible noswapfile hidden ttimeout ttimeoutlen=50 encoding=utf-8",
      vimrc,
      `let g:hyades = {'command': ${JSON.stringify(command)}${settings}}`,
      `set rtp^=${ROOT}/clients/vim`,
      "set statusline=%{hyades#statusline()} laststatus=2",
    ].join("\n"),
  );
  const terminal = await Terminal.start(`${EDITORS[editor]} adding.py`, folder);
  await terminal.shows(startsSlowly ? "print(add(1, 2))" : READY);
  return {
    server,
    terminal,
    async saved() {
      await terminal.press("Escape");
      await terminal.type(":write");
      await terminal.press("Enter");
      await terminal.shows(/\d+B written|written/);
      return await Deno.readTextFile(file);
    },
    async [Symbol.asyncDispose]() {
      await terminal[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

for (const editor of Object.keys(EDITORS)) {
  const test = (name: string, body: () => Promise<void>) =>
    Deno.test({ name: `${editor}: ${name}`, ignore: !available, fn: body });

  test("typing shows a completion, keys that match it keep it, Tab accepts it", async () => {
    await using session = await edit(editor, FUNCTION);
    const { terminal, server } = session;
    await terminal.type("jA");
    await terminal.type("re");
    await terminal.shows("    return first + second\n    # the sum\n\nprint(add(1, 2))");
    await terminal.type("turn");
    const screen = await terminal.shows("    return first + second\n    # the sum\n\nprint(add(1, 2))");
    assert.ok(screen.startsWith("def add(first, second):\n    return"), screen);
    await terminal.press("Tab");
    assert.equal(await session.saved(), `def add(first, second):\n${BODY}\n\nprint(add(1, 2))\n`);
    const asked = server.infills.filter(({ prefix }) => /^def add\(first, second\):\n {4}re?$/.test(prefix));
    assert.ok(asked.length >= 1 && asked.every(({ suffix }) => suffix === "\n\nprint(add(1, 2))\n"));
    // The end of what was accepted is a new place; while it was typed nothing was asked.
    assert.ok(server.infills.length <= 4, JSON.stringify(server.infills));
  });

  test("Ctrl-Right accepts a word, Shift-Tab a line, each as it is shown", async () => {
    await using session = await edit(editor, FUNCTION);
    const { terminal } = session;
    await terminal.type("jAre");
    await terminal.shows("    return first + second");
    await terminal.press("C-Right", "C-Right");
    await terminal.press("Escape");
    await terminal.shows(/^ {4}return first$/m);
    await terminal.type("A ");
    await terminal.shows("    return first + second\n    # the sum");
    await terminal.press("BTab");
    assert.equal(
      await session.saved(),
      "def add(first, second):\n    return first + second\n\nprint(add(1, 2))\n",
    );
  });

  test("Ctrl-] dismisses what is shown until Ctrl-F asks for it, Escape hides it", async () => {
    await using session = await edit(editor, FUNCTION);
    const { terminal } = session;
    await terminal.type("jAre");
    await terminal.shows("# the sum");
    await terminal.press("C-]");
    await terminal.shows(/^ {4}re$/m);
    await terminal.type("t");
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.match(await terminal.screen(), /^ {4}ret$/m);
    await terminal.press("C-f");
    await terminal.shows("    return first + second\n    # the sum");
    await terminal.press("Escape");
    await terminal.shows(/^ {4}ret$/m);
    assert.equal(await session.saved(), FUNCTION.replace("    \n", "    ret\n"));
  });

  test("the file that the editor was started with is shown whole, without any settings", async () => {
    await using session = await edit(editor, FUNCTION, { vimrc: "", settings: "" });
    await session.terminal.type("jAret");
    await session.terminal.shows("    return first + second\n    # the sum");
    const { prefix, suffix } = session.server.infills[0];
    assert.match(prefix + suffix, /^def add\(first, second\):\n {4}r?e?t?\n\nprint\(add\(1, 2\)\)\n$/);
  });

  test("what was typed while the language server started is completed once it has", async () => {
    await using session = await edit(editor, FUNCTION, { startsSlowly: true });
    await session.terminal.type("jAre");
    const screen = await session.terminal.shows("    return first + second\n    # the sum");
    assert.ok(screen.includes(READY), screen);
  });

  test("keys do what they did where nothing is shown", async () => {
    await using session = await edit(editor, "a = 1\n");
    await session.terminal.type("A");
    await session.terminal.press("Tab");
    await session.terminal.type("b");
    assert.equal(await session.saved(), "a = 1\tb\n");
  });

  test("columns count after emoji and CJK, and in the middle of a line", async () => {
    await using session = await edit(editor, "x = 1\n)\n");
    const { terminal, server } = session;
    await terminal.type("jifaces = '🙂漢'");
    await terminal.shows("faces = '🙂漢', wide");
    const { prefix, suffix } = server.infills.at(-1)!;
    assert.ok("x = 1\nfaces = '🙂漢'".startsWith(prefix) && prefix.length > 6, prefix);
    assert.equal(suffix, ")\n");
    await terminal.press("Tab");
    assert.equal(await session.saved(), `x = 1\n${FACE})\n`);
  });

  test("the server knows the text after pastes, deletions, undo and substitution", async () => {
    await using session = await edit(editor, "one = 1\ntwo = 2\nthree = 3\n");
    const { terminal, server } = session;
    await terminal.type("yyP3Gdd:%s/o/0/g");
    await terminal.press("Enter");
    await terminal.type("uGdduGofa");
    await terminal.shows(FACE);
    const { prefix, suffix } = server.infills.at(-1)!;
    assert.match(prefix, /^one = 1\none = 1\nthree = 3\nfa?$/);
    assert.equal(suffix, "\n");
    await terminal.press("Tab");
    assert.equal(await session.saved(), `one = 1\none = 1\nthree = 3\n${FACE}\n`);
  });

  test("a file with CRLF is shown to the server as it is, and keeps its line ends", async () => {
    await using session = await edit(editor, "one = 1\r\ntwo = 2\r\n");
    const { terminal, server } = session;
    await terminal.type("ofa");
    await terminal.shows(FACE);
    const { prefix, suffix } = server.infills.at(-1)!;
    assert.match(prefix, /^one = 1\r\nfa?$/);
    assert.equal(suffix, "\r\ntwo = 2\r\n");
    await terminal.press("Tab");
    assert.equal(await session.saved(), `one = 1\r\n${FACE}\r\ntwo = 2\r\n`);
  });

  test("the status line says when the server does not answer", async () => {
    await using session = await edit(editor, FUNCTION);
    session.server.cut();
    await session.terminal.type("jAre");
    await session.terminal.shows(/Hyades: error · fake\/model-1 · No server answers at/);
  });
}
