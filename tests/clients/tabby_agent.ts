// Tabby's own agent (what its editor plugins run), unmodified, asked once for a completion at a cursor; prints what it
// saw. Arguments: the server's address, a token. It keeps its settings in the home folder, so it runs by itself, with
// another one (tabby_agent_test.ts).
import { TabbyAgent } from "../tabby_agent_client.ts";

const [endpoint = "", token = ""] = Deno.args;
const BEFORE = "def fib(n):\n    return ";

const agent = new TabbyAgent();
await agent.initialize({
  config: {
    server: { endpoint, token },
    anonymousUsageTracking: { disable: true },
    logs: { level: "silent" },
  },
});
const status = agent.getStatus();
const report: Record<string, unknown> = { status, model: agent.getServerHealthState()?.model };
if (status === "ready") {
  const { id, choices } = await agent.provideCompletions({
    filepath: "/project/fib.py",
    language: "python",
    text: `${BEFORE}\n\nprint(fib(10))\n`,
    position: BEFORE.length,
    manually: true,
  });
  report.texts = choices.map(({ text }: { text: string }) => text);
  await agent.postEvent({ type: "view", completion_id: id, choice_index: 0 });
  await agent.postEvent({ type: "select", completion_id: id, choice_index: 0 });
}
console.log(`report: ${JSON.stringify(report)}`);
Deno.exit(0);
