/** The three patches of the Kubernetes API. Each returns a new document; no argument is ever changed. */
export { jsonPatch } from './json-patch.ts';
export { mergePatch } from './merge-patch.ts';
export { strategicMergePatch } from './strategic-merge-patch.ts';
