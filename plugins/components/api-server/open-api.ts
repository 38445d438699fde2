/** /openapi/v3: an index with a hash for each group version, and the documents, made when first asked for. */
import { createHash } from 'node:crypto';
import type { ServedResource } from '../../../kernel/contract/index.ts';
import { noSuchPath } from './status.ts';

interface Document {
  readonly body: Buffer;
  readonly etag: string;
}

const sets = new WeakMap<readonly ServedResource[], Map<string, Document>>();

/** The release is part of the hash: another build of the schema table is another document. */
export function openApiIndex(served: readonly ServedResource[], release: string): Buffer {
  const paths: Record<string, { serverRelativeURL: string }> = {};
  for (const key of groupVersions(served).keys())
    paths[key] = {
      serverRelativeURL: `/openapi/v3/${key}?hash=${hashOf(groupVersions(served).get(key) ?? [], release)}`,
    };
  return Buffer.from(`${JSON.stringify({ paths })}\n`);
}

export async function openApiGroupVersion(served: readonly ServedResource[], key: string): Promise<Document> {
  let documents = sets.get(served);
  if (documents === undefined) sets.set(served, (documents = new Map()));
  let document = documents.get(key);
  if (document === undefined) {
    const resources = groupVersions(served).get(key);
    if (resources === undefined) throw noSuchPath();
    const { openApiDocument } = await import('../../../kernel/machinery/schema/open-api.ts');
    const body = Buffer.from(JSON.stringify(openApiDocument(resources)));
    document = { body, etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"` };
    documents.set(key, document);
  }
  return document;
}

/** "api/v1", "apis/apps/v1" ... */
function groupVersions(served: readonly ServedResource[]): ReadonlyMap<string, readonly ServedResource[]> {
  const map = new Map<string, ServedResource[]>();
  for (const resource of served) {
    const key = resource.group === '' ? `api/${resource.version}` : `apis/${resource.group}/${resource.version}`;
    const list = map.get(key);
    if (list === undefined) map.set(key, [resource]);
    else list.push(resource);
  }
  return map;
}

function hashOf(resources: readonly ServedResource[], release: string): string {
  const text = JSON.stringify([
    release,
    resources.map((resource) => [resource.resource, resource.kind, resource.subresources.map((entry) => entry.name)]),
  ]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32).toUpperCase();
}
