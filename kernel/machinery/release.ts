/**
 * The Kubernetes release whose API is served, as servers and nodes report it. A constant of its own, so that a node need
 * not read the schema table for it; a test holds it equal to the table's.
 */
export const kubernetesRelease = 'v1.36.3';

/** A build suffix that version checks (Helm) ignore. */
export const reportedVersion = `${kubernetesRelease}+pintle`;
