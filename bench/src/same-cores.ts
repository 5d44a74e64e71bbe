import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/**
 * Keeps a process's `count` busiest threads on the first cores, one on each. Two cores of a virtual machine differ by up
 * to a half, for minutes, as each has neighbours of its own, and a thread that computes stays where it is: two
 * contestants on two of them are compared by their neighbours.
 *
 * @returns whether that could be done: it takes Linux and `taskset`.
 */
export function keepOnFirstCores(pid: number, count: number): boolean {
  try {
    for (const [core, thread] of busiestThreads(pid).slice(0, count).entries()) {
      execFileSync("taskset", ["--pid", "--cpu-list", String(core), thread], { stdio: "ignore" });
    }
    return true;
  } catch {
    return false;
  }
}

/** Thread ids, the one with the most CPU time first. */
function busiestThreads(pid: number): string[] {
  const folder = `/proc/${pid}/task`;
  const threads = readdirSync(folder).map((id) => {
    // The name stands in parentheses and may hold spaces; utime and stime are the 14th and 15th field (proc(5)).
    const stat = readFileSync(`${folder}/${id}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { id, ticks: Number(fields[11]) + Number(fields[12]) };
  });
  return threads.toSorted((a, b) => b.ticks - a.ticks).map(({ id }) => id);
}
