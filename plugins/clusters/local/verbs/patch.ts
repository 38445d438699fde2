/** Patches: the patch is applied to the newest state, again whenever somebody else was faster. */
import { PintleError } from '../../../../kernel/contract/index.ts';
import type { KubernetesObject, PatchKind, WriteOptions } from '../../../../kernel/contract/index.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from '../../../../kernel/machinery/patch.ts';
import { badRequest } from '../api-errors.ts';
import type { Stored } from '../engine.ts';
import { shape, shapeStatus } from '../shape.ts';
import type { Edit } from './change.ts';

export interface Patch {
  readonly kind: PatchKind;
  readonly body: unknown;
  readonly force?: boolean | undefined;
}

/** The patched document, not yet checked. */
export function applyPatch(document: KubernetesObject, patch: Patch, schemaType: string | undefined): unknown {
  switch (patch.kind) {
    case 'json':
      if (!Array.isArray(patch.body)) throw badRequest('a JSON patch must be a list of operations');
      return jsonPatch(document, patch.body);
    case 'merge':
      return mergePatch(document, patch.body);
    case 'strategic':
      if (!schemaType) {
        throw new PintleError(
          'UNSUPPORTED_MEDIA_TYPE',
          'strategic merge patch is not supported for custom resources: use a merge patch or a JSON patch',
        );
      }
      return strategicMergePatch(document, patch.body, schemaType);
    case 'apply':
      throw new PintleError('INTERNAL', 'server-side apply goes its own way: see verbs/apply.ts');
  }
}

export function patchEdit(resource: Stored, patch: Patch, options: WriteOptions): Edit {
  let { warn } = options;
  return (shown) => {
    const patched = applyPatch(shown, patch, resource.served.schemaType);
    const heeded = { ...options, warn };
    const statusOnly = options.subresource === 'status' ? shapeStatus(resource, patched, shown, heeded) : undefined;
    const wanted = statusOnly ?? shape(resource, patched, heeded);
    warn = undefined;
    return wanted;
  };
}
