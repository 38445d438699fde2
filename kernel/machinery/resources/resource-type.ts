/** A built-in resource: its names as in discovery, which the API's types do not have, and its key into the schema table. */
import type { KubernetesObject, ResourceType } from '../../contract/index.ts';

/** A token plus the names that discovery shows and the key into the schema table. */
export interface BuiltInResource<T extends KubernetesObject = KubernetesObject> extends ResourceType<T> {
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  /** "core/v1.Pod" */
  readonly schemaType: string;
  /** Subresources beside status and scale, as the schema table lists them. */
  readonly subresources: readonly string[];
  /** False: nothing is stored. It answers to `create` only (reviews), or is `computed`. */
  readonly stored: boolean;
  /** Answers to `get` and `list` with what the nodes say at that moment. */
  readonly computed: boolean;
}

type More = Partial<
  Pick<BuiltInResource, 'shortNames' | 'categories' | 'subresources' | 'stored' | 'computed' | 'schemaType'>
>;

/** Makes the resources of one group and version. */
export function inGroup(group: string, version: string) {
  const resource =
    (namespaced: boolean) =>
    <T extends KubernetesObject>(kind: string, plural: string, more: More = {}): BuiltInResource<T> =>
      Object.freeze({
        group,
        version,
        kind,
        resource: plural,
        namespaced,
        singular: kind.toLowerCase(),
        schemaType: more.schemaType ?? `${group === '' ? 'core' : group.split('.')[0]}/${version}.${kind}`,
        shortNames: more.shortNames ?? [],
        categories: more.categories ?? [],
        subresources: more.subresources ?? [],
        stored: more.stored ?? more.computed !== true,
        computed: more.computed ?? false,
      });
  return { namespaced: resource(true), clusterWide: resource(false) } as const;
}
