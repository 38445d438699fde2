/**
 * The messages that stand for one JSON value.
 *
 *     Time, MicroTime {1 seconds, 2 nanos}   Duration {1 nanoseconds}   Quantity {1 text}
 *     IntOrString {1 type: 0 int, 1 string; 2 int; 3 string}   RawExtension, FieldsV1, JSON {1 bytes of JSON}
 */
import { isWithinDepth } from '../json-value.ts';
import { maxJsonDepth } from '../patch-limits.ts';
import { formatDuration } from './duration.ts';
import { malformed, type ProtobufReader } from './protobuf-reader.ts';

const latestSecond = Date.parse('9999-12-31T23:59:59Z') / 1000;
const earliestSecond = Date.parse('0001-01-01T00:00:00Z') / 1000;

/** Undefined for an empty message: Go's zero time. */
export function readTime(message: ProtobufReader, digits: 0 | 6): string | undefined {
  if (message.done) return undefined;
  let seconds = 0;
  let nanos = 0;
  for (let tag = message.tag(); tag; tag = message.tag()) {
    if (tag.number === 1 && tag.wire === 0) seconds = message.int64();
    else if (tag.number === 2 && tag.wire === 0) nanos = message.int32();
    else message.skip(tag.wire);
  }
  if (seconds < earliestSecond || seconds > latestSecond || nanos < 0 || nanos > 999_999_999)
    throw malformed(`${seconds} seconds and ${nanos} nanoseconds are no time between the years 1 and 9999`);
  const date = new Date(seconds * 1000).toISOString().slice(0, 19);
  return digits === 0 ? `${date}Z` : `${date}.${String(Math.floor(nanos / 1000)).padStart(6, '0')}Z`;
}

export function readDuration(message: ProtobufReader): string {
  let nanoseconds = 0n;
  for (let tag = message.tag(); tag; tag = message.tag()) {
    if (tag.number === 1 && tag.wire === 0) nanoseconds = message.int64Exact();
    else message.skip(tag.wire);
  }
  return formatDuration(nanoseconds);
}

export function readQuantity(message: ProtobufReader): string {
  let text = '';
  for (let tag = message.tag(); tag; tag = message.tag()) {
    if (tag.number === 1 && tag.wire === 2) text = message.string();
    else message.skip(tag.wire);
  }
  return text === '' ? '0' : text;
}

export function readIntOrString(message: ProtobufReader): number | string {
  let isText = false;
  let integer = 0;
  let text = '';
  for (let tag = message.tag(); tag; tag = message.tag()) {
    if (tag.number === 1 && tag.wire === 0) isText = message.int32() === 1;
    else if (tag.number === 2 && tag.wire === 0) integer = message.int32();
    else if (tag.number === 3 && tag.wire === 2) text = message.string();
    else message.skip(tag.wire);
  }
  return isText ? text : integer;
}

/** Undefined when there are no bytes. */
export function readJson(message: ProtobufReader): unknown {
  let bytes: Buffer | undefined;
  for (let tag = message.tag(); tag; tag = message.tag()) {
    if (tag.number === 1 && tag.wire === 2) bytes = message.bytes();
    else message.skip(tag.wire);
  }
  if (!bytes || bytes.length === 0) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw malformed(`embedded bytes are not JSON (${cause instanceof Error ? cause.message : String(cause)})`);
  }
  if (!isWithinDepth(value, maxJsonDepth))
    throw malformed(`embedded JSON is nested deeper than ${maxJsonDepth} levels`);
  return value;
}
