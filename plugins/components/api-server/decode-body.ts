/** A request body as plain data: JSON, YAML or the API's protobuf envelope, by its content type. */
import { isPintleError, PintleError } from '../../../kernel/contract/index.ts';
import { isWithinDepth } from '../../../kernel/machinery/json-value.ts';
import { decodeYaml } from './decode-yaml.ts';
import { countKeys, countSpelledKeys, maxDepth, scanJson } from './scan-json.ts';
import { badRequest } from './status.ts';

export interface DecodedBody {
  readonly value: unknown;
  /** Problems that strict field validation refuses and Warn tells: keys that occur twice. */
  readonly strictProblems: readonly string[];
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

const bodyTypes = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf'] as const;

/** "application/json" for an absent header, as the API has it. Lower case, without parameters. */
export function mediaTypeOf(header: string | undefined): string {
  const type = (header ?? '').split(';')[0]?.trim().toLowerCase();
  return type === undefined || type === '' ? 'application/json' : type;
}

/** `expected`: the kind, for messages. `isStrict`: somebody wants to know of strict problems. */
export async function decodeBody(
  bytes: Buffer,
  mediaType: string,
  expected: string,
  isStrict = true,
): Promise<DecodedBody> {
  switch (mediaType) {
    case 'application/json':
      return decodeJson(textOf(bytes, expected), expected, isStrict);
    case 'application/yaml':
    case 'application/x-yaml':
    case 'text/yaml':
      return decodeYamlBody(textOf(bytes, expected), expected);
    case 'application/vnd.kubernetes.protobuf':
      return { value: await decodeEnvelope(bytes, expected), strictProblems: [] };
    default:
      throw unsupportedMediaType(bodyTypes);
  }
}

export function unsupportedMediaType(accepted: readonly string[]): PintleError {
  return new PintleError(
    'UNSUPPORTED_MEDIA_TYPE',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
  );
}

function unrecognized(expected: string, why: string): PintleError {
  return badRequest(`the object provided is unrecognized (must be of type ${expected}): ${why}`);
}

function textOf(bytes: Buffer, expected: string): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw unrecognized(expected, 'the body is not valid UTF-8');
  }
}

export function decodeJson(text: string, expected: string, isStrict = true): DecodedBody {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // Refuses what is nested too deep, which is the better answer.
    scanJson(text);
    // V8 quotes the text; a body may hold a Secret, so only the position is told.
    const position = /position (\d+)/.exec(String(error))?.[1];
    const where = position === undefined ? 'unexpected end of JSON input' : `invalid character at offset ${position}`;
    throw unrecognized(expected, `couldn't get version/kind; json parse error: ${where}`);
  }
  if (!isStrict && isWithinDepth(value, maxDepth - 1)) return { value, strictProblems: [] };
  // Most bodies have as many keys as they spell, and need no closer look.
  if (countKeys(value, maxDepth) === countSpelledKeys(text)) return { value, strictProblems: [] };
  return { value, strictProblems: scanJson(text).map((path) => `duplicate field "${path}"`) };
}

async function decodeYamlBody(text: string, expected: string): Promise<DecodedBody> {
  try {
    const { value, duplicates } = await decodeYaml(text);
    return { value, strictProblems: duplicates };
  } catch (error) {
    throw unrecognized(expected, `yaml: ${String((error as Error).message)}`);
  }
}

async function decodeEnvelope(bytes: Buffer, expected: string): Promise<unknown> {
  const { decodeProtobuf } = await import('../../../kernel/machinery/schema/decode-protobuf.ts');
  try {
    const { apiVersion, kind, object } = decodeProtobuf(bytes);
    return { apiVersion, kind, ...(object as object) };
  } catch (error) {
    if (isPintleError(error, 'UNSUPPORTED_MEDIA_TYPE', 'TOO_LARGE')) throw error;
    throw unrecognized(expected, isPintleError(error) ? error.message : 'the protobuf body is malformed');
  }
}
