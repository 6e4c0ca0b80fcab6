"""A topology written as YAML and read again is the same topology."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netverify.topology.dump import dump
from netverify.topology.errors import TopologyError
from netverify.topology.load import loads
from netverify.topology.model import PortMapping, Route, Topology
from tests.strategies.topology import port_mappings, routes, topologies

EVERYTHING = """\
name: everything
title: One of each
source:
- seed document 001
- another, with a comma
segments:
  lan: {subnet: 192.168.1.0/24}
hosts:
  host:
    role: host
    forwarding: [ipv4, ipv6]
    docker: {version: '24.0', userland_proxy: false}
    interfaces:
      eth0: {segment: lan, address: [192.168.1.10/24, '2001:db8::10/64'], mac: '02:00:00:00:00:01'}
    bridges: {br9: {address: 10.9.0.1/24, mtu: 1400}}
    routes: [default via 192.168.1.1, 'blackhole fd00::/8']
    sysctls: {net.ipv4.conf.all.rp_filter: '1'}
    listen: [tcp/22]
  other:
    loopback: false
    rules: |
      *filter
      :FORWARD DROP [0:0]
      COMMIT
networks:
  web: {driver: bridge, host: host, subnet: 172.18.0.0/16, internal: true, icc: false}
  mac: {driver: macvlan, host: host, parent: eth0, mode: vepa, subnet: 192.168.1.0/24}
containers:
  c1: {host: host, networks: [web], publish: ['8080:80/tcp', '[::1]:53:53/udp']}
  c2: {host: host, mode: 'container:c1', listen: [tcp/5000]}
cables:
- other:veth0: {address: 10.1.0.1/24}
  c1:eth1: {address: 10.1.0.2/24, up: false}
notes:
  why: because
"""


def test_reads_as_if_a_person_had_written_it():
    assert dump(loads(EVERYTHING)) == EVERYTHING


@settings(deadline=None, max_examples=150)
@given(topologies())
def test_round_trip(topology: Topology):
    assert loads(dump(topology)) == topology


@settings(deadline=None, max_examples=50)
@given(topologies())
def test_round_trip_resolved(topology: Topology):
    topology = topology.resolved()
    assert loads(dump(topology)) == topology


@given(routes())
def test_routes_read_as_they_print(route: Route):
    assert Route.parse(str(route)) == route


@given(port_mappings())
def test_published_ports_read_as_they_print(mapping: PortMapping):
    assert PortMapping.parse(str(mapping)) == mapping


@pytest.mark.parametrize("kind", [Route.parse, PortMapping.parse])
@given(text=st.text(st.sampled_from("default via dev br0 10.1/24:[]tcpudp blackhole onlink fe80::1 \t\n/٣")))
def test_parsers_refuse_or_read(kind: Callable[[str], Route | PortMapping], text: str):
    try:
        part = kind(text)
    except TopologyError:
        return
    assert kind(str(part)) == part
