/**
 * The bytes of one version in the log.
 *
 *   log key    revision u48 | index u32                                      big endian, so that the log is in order
 *   log value  flags u8 | key length u16 | created u48 | key (UTF-8) | value
 *
 * flags: 1 = a deletion.
 */
import type { Version } from '../../../kernel/machinery/store/keyspace.ts';

const headerBytes = 9;
const createdAt = 3;
const deletion = 1;

/** A record copies the value, so that the caller may do with its bytes what it likes. */
export function encodeRecord(key: string, value: Uint8Array | undefined): Buffer {
  const keyBytes = Buffer.byteLength(key);
  const record = Buffer.allocUnsafe(headerBytes + keyBytes + (value?.byteLength ?? 0));
  record[0] = value === undefined ? deletion : 0;
  record.writeUInt16BE(keyBytes, 1);
  record.writeUIntBE(0, createdAt, 6);
  record.write(key, headerBytes, 'utf8');
  if (value !== undefined) record.set(value, headerBytes + keyBytes);
  return record;
}

/** `created` is known only when the transaction has its revision. */
export function setCreated(record: Buffer, created: number): void {
  record.writeUIntBE(created, createdAt, 6);
}

export function valueOf(record: Buffer): Buffer {
  return record.subarray(headerBytes + record.readUInt16BE(1));
}

export function encodeLogKey(revision: number, index: number): Buffer {
  const key = Buffer.allocUnsafe(10);
  key.writeUIntBE(revision, 0, 6);
  key.writeUInt32BE(index, 6);
  return key;
}

/** The version without its value. */
export function decodeVersion(logKey: Buffer, record: Buffer): Version {
  return {
    key: record.toString('utf8', headerBytes, headerBytes + record.readUInt16BE(1)),
    revision: logKey.readUIntBE(0, 6),
    index: logKey.readUInt32BE(6),
    created: record.readUIntBE(createdAt, 6),
    isDeletion: (record[0]! & deletion) !== 0,
    value: undefined,
    previous: undefined,
  };
}
