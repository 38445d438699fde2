import { PintleError } from '../../../kernel/contract/errors.ts';

/** Errors after which nothing is written and a later write may succeed, by number (LMDB) and by name (Node). */
const reasons = new Map<unknown, string>([
  // LMDB reports a short write, which a full disk or quota causes, as EIO.
  [5, 'the disk is full or reported an input/output error'],
  [28, 'no space is left on the device'],
  ['ENOSPC', 'no space is left on the device'],
  [122, 'the disk quota is used up'],
  ['EDQUOT', 'the disk quota is used up'],
  [27, 'the file may not grow (file size limit)'],
  ['EFBIG', 'the file may not grow (file size limit)'],
  [30, 'the file system is read-only'],
  ['EROFS', 'the file system is read-only'],
  [13, 'permission is denied'],
  ['EACCES', 'permission is denied'],
  ['EPERM', 'the operation is not permitted'],
]);

/** Why the store is read-only for now; undefined when the error means something worse. */
export function readOnlyReason(error: unknown): string | undefined {
  const { code, message } = (error ?? {}) as { code?: unknown; message?: unknown };
  const reason = reasons.get(code);
  if (reason === undefined) return undefined;
  return code === 'ENOSPC' && typeof message === 'string' ? `${reason} (${message})` : reason;
}

export function closedStore(): PintleError {
  return new PintleError('STORE_CLOSED', 'The lmdb store has been disposed; nothing can be read or written any more.');
}

export function readOnly(cause: unknown): PintleError {
  return new PintleError(
    'STORE_READ_ONLY',
    `store/lmdb cannot write: ${readOnlyReason(cause)}. Nothing of the transaction was written, compaction is stopped, ` +
      'reads go on. Make room; the store tries again by itself.',
    { cause },
  );
}

export function failed(what: string, cause: unknown): PintleError {
  return new PintleError(
    'STORE_FAILED',
    `store/lmdb: ${what} (${cause instanceof Error ? cause.message : String(cause)}); whether the transaction was written ` +
      'is unknown. Reads go on; check the disk and restart the server.',
    { cause },
  );
}
