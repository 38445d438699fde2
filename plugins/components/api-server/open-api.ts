/** /openapi/v3: the index and the documents of kernel/machinery/schema, made when first asked for and kept as bytes. */
import { createHash } from 'node:crypto';
import type { ServedResource } from '../../../kernel/contract/index.ts';
import { noSuchPath } from './status.ts';
import { kubernetesRelease } from '../../../kernel/machinery/release.ts';

export interface OpenApiBytes {
  readonly body: Buffer;
  readonly etag: string;
}

const sets = new WeakMap<readonly ServedResource[], Map<string, OpenApiBytes>>();
const secondVersions = new WeakMap<readonly ServedResource[], OpenApiBytes>();

/** `path`: "" for the index, or "api/v1", "apis/apps/v1" ... */
export async function openApi(served: readonly ServedResource[], path: string): Promise<OpenApiBytes> {
  let known = sets.get(served);
  if (known === undefined) sets.set(served, (known = new Map()));
  let bytes = known.get(path);
  if (bytes === undefined) {
    const body = Buffer.from(JSON.stringify(await documentOf(served, path)));
    bytes = { body, etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"` };
    known.set(path, bytes);
  }
  return bytes;
}

/** /openapi/v2 in protobuf, for kubectl up to 1.28; made when first asked for. */
export async function openApiV2(served: readonly ServedResource[]): Promise<OpenApiBytes> {
  let bytes = secondVersions.get(served);
  if (bytes === undefined) {
    const { openApiV2: encode } = await import('../../../kernel/machinery/schema/open-api-v2.ts');
    const body = encode(served, kubernetesRelease);
    bytes = { body, etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"` };
    secondVersions.set(served, bytes);
  }
  return bytes;
}

async function documentOf(served: readonly ServedResource[], path: string): Promise<object> {
  const { openApiDocument, openApiIndex, openApiPath } = await import('../../../kernel/machinery/schema/open-api.ts');
  const groupVersions = new Map(
    served.map(({ group, version }) => [openApiPath({ group, version }), { group, version }]),
  );
  if (path === '') return openApiIndex([...groupVersions.values()], served);
  const wanted = groupVersions.get(path);
  const document = wanted === undefined ? undefined : openApiDocument(wanted, served);
  if (document === undefined) throw noSuchPath();
  return document;
}
