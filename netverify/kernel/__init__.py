"""The only room that touches a kernel: namespaces, netlink, the lab, probes, captures."""
