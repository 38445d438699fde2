/** Answers in the form that was asked for: objects, lists, tables, partial metadata; JSON or YAML. */
import type { KubernetesObject, ServedResource } from '../../../kernel/contract/index.ts';
import { encodeList, encodeObject } from './encode-object.ts';
import { send, type Exchange } from './http-exchange.ts';
import type { Output } from './negotiation.ts';
import { apiVersionOf } from './request-target.ts';
import { includeObjectOf, partialMetadata, tableOf } from './table.ts';

/** How the client wants it. */
export interface Form {
  readonly resource: ServedResource;
  readonly output: Output;
  readonly now: number;
}

export async function sendObject(
  exchange: Exchange,
  status: number,
  object: KubernetesObject,
  { resource, output, now }: Form,
): Promise<void> {
  if (output.as === 'Table') {
    const include = includeObjectOf(exchange.query);
    const head = { resourceVersion: object.metadata.resourceVersion ?? '' };
    return sendJson(
      exchange,
      status,
      tableOf(resource, [object], head, { version: output.version, include }, { now }),
      output,
    );
  }
  if (output.as === 'PartialObjectMetadata')
    return sendJson(exchange, status, partialMetadata(object, output.version), output);
  if (output.encoding === 'json' && !wantsPretty(exchange))
    return send(exchange, { status, body: encodeObject(object), contentType: 'application/json' });
  await sendJson(exchange, status, object, output);
}

export async function sendList(
  exchange: Exchange,
  list: {
    readonly items: readonly KubernetesObject[];
    readonly resourceVersion: string;
    readonly continue?: string | undefined;
    readonly remainingItemCount?: number | undefined;
  },
  { resource, output, now }: Form,
): Promise<void> {
  if (output.as === 'Table') {
    const include = includeObjectOf(exchange.query);
    return sendJson(
      exchange,
      200,
      tableOf(resource, list.items, list, { version: output.version, include }, { now }),
      output,
    );
  }
  const isPartial = output.as === 'PartialObjectMetadata' || output.as === 'PartialObjectMetadataList';
  const items = isPartial ? list.items.map((item) => partialMetadata(item, output.version)) : list.items;
  const head = {
    ...list,
    kind: isPartial ? 'PartialObjectMetadataList' : `${resource.kind}List`,
    apiVersion: isPartial ? `meta.k8s.io/${output.version}` : apiVersionOf(resource),
  };
  const body = encodeList(head, items);
  if (output.encoding === 'json' && !wantsPretty(exchange))
    return send(exchange, { status: 200, body, contentType: contentTypeOf(output) });
  await sendJson(exchange, 200, JSON.parse(body.toString()), output);
}

/** People reading an answer with curl or a browser get it indented, as kube-apiserver does it. */
function wantsPretty(exchange: Exchange): boolean {
  const pretty = exchange.query.get('pretty');
  if (pretty !== null) return !(pretty === '0' || pretty.toLowerCase() === 'false');
  return /^(curl|Wget|Mozilla\/5\.0)/.test(exchange.request.headers['user-agent'] ?? '');
}

function contentTypeOf(output: Output | undefined): string {
  const base = output?.encoding === 'yaml' ? 'application/yaml' : 'application/json';
  return output === undefined || output.as === 'object'
    ? base
    : `${base};as=${output.as};v=${output.version};g=meta.k8s.io`;
}

export async function sendJson(exchange: Exchange, status: number, document: unknown, output?: Output): Promise<void> {
  let text: string;
  if (output?.encoding === 'yaml') text = (await import('yaml')).stringify(document, { aliasDuplicateObjects: false });
  else text = `${JSON.stringify(document, undefined, wantsPretty(exchange) ? 2 : undefined)}\n`;
  await send(exchange, { status, body: Buffer.from(text), contentType: contentTypeOf(output) });
}
