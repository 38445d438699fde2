/** fsGroup: makes everything below a folder readable and writable for one group, and what comes later, too (setgid). */
import { chmod, lchown, lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

const setGid = 0o2000;

/**
 * An owner that this node cannot give (a user namespace that lacks the id: EINVAL; not the owner: EPERM) is left as it is:
 * in such a namespace there is no second user whom a mode could keep out.
 */
async function tryOwner(path: string, uid: number, gid: number): Promise<void> {
  await lchown(path, uid, gid).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EINVAL' && error.code !== 'EPERM') throw error;
  });
}

export async function giveToGroup(
  root: string,
  gid: number,
  policy: 'Always' | 'OnRootMismatch' = 'Always',
): Promise<void> {
  const { gid: before, mode } = await lstat(root);
  if (policy === 'OnRootMismatch' && before === gid && (mode & (setGid | 0o070)) === (setGid | 0o070)) return;
  // The root comes last: it is what OnRootMismatch looks at, and an agent may be killed in between.
  await giveContent(root, gid);
  await giveOne(root, gid);
}

async function giveContent(folder: string, gid: number): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await giveContent(path, gid);
    await giveOne(path, gid).catch((error: NodeJS.ErrnoException) => {
      // A pod that already runs may delete its files meanwhile.
      if (error.code !== 'ENOENT') throw error;
    });
  }
}

async function giveOne(path: string, gid: number): Promise<void> {
  const found = await lstat(path);
  if (found.gid !== gid) await tryOwner(path, found.uid, gid);
  if (found.isSymbolicLink()) return;
  const wanted = (found.mode & 0o7777) | (found.isDirectory() ? setGid | 0o070 : 0o060);
  if (wanted !== (found.mode & 0o7777)) await chmod(path, wanted);
}
