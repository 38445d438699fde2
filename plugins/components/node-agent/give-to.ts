import { lchown, lstat } from 'node:fs/promises';

/**
 * Makes a file the group's. A group that this node cannot give (its user namespace has no such id: EINVAL; nor may this
 * user: EPERM) is no failure: on such a node every container runs as the one user who owns the files anyway.
 */
export async function giveTo(path: string, group: number): Promise<void> {
  const { uid } = await lstat(path);
  await lchown(path, uid, group).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EINVAL' && error.code !== 'EPERM') throw error;
  });
}
