/** The processes of a lab as the host numbers them. */
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';

function childrenOf(pid: number): readonly number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Pid of the lab's first process, in the lab's namespaces, from that of the `unshare` that made them. */
export function labMainPid(unsharePid: number): number {
  const [first] = childrenOf(unsharePid);
  if (first === undefined) throw new Error(`process ${unsharePid} has no child: the lab has ended`);
  return first;
}

/** Every process in the pid namespace of `pid`. */
export function processesLike(pid: number): readonly number[] {
  const namespace = readlinkSync(`/proc/${pid}/ns/pid`);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((each) => {
      try {
        return readlinkSync(`/proc/${each}/ns/pid`) === namespace;
      } catch {
        return false;
      }
    });
}
