/** From apiVersion and kind to the key of a type in the API table, and back. */
import { allKinds, type KindSchema } from './schema.ts';

let byName: ReadonlyMap<string, KindSchema> | undefined;
let shared: ReadonlyMap<string, KindSchema> | undefined;

/** "apps/v1" is group apps, version v1; "v1" is the core group, "". */
export function joinApiVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

export function kindSchema(apiVersion: string, kind: string): KindSchema | undefined {
  byName ??= new Map(allKinds().map((each) => [`${joinApiVersion(each.group, each.version)} ${each.kind}`, each]));
  // Options, Status, Table and their like belong to every group version.
  shared ??= new Map(
    allKinds()
      .filter((each) => each.group === 'meta.k8s.io')
      .map((each) => [each.kind, each]),
  );
  return byName.get(`${apiVersion} ${kind}`) ?? shared.get(kind);
}

/** The key into the table ("core/v1.Pod"); undefined for a kind that is not built in. */
export function kindType(apiVersion: string, kind: string): string | undefined {
  return kindSchema(apiVersion, kind)?.type;
}
