"""Which addresses are the internet's."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.transport.address import is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "127.0.0.1",
    "127.255.255.255", "168.63.129.16", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "198.18.0.0", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_internet_is_public_in_every_form(address: str) -> None:
    assert is_public(address)
    assert all(map(is_public, forms(address)))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_another_is_not_in_any_form(address: str) -> None:
    assert not is_public(address)
    assert not any(map(is_public, forms(address)))


@pytest.mark.parametrize(
    "address", ["2606:4700:4700::1111", "2a00:1450:4001::1", "2400:cb00::", "2001:200::", "2001:4860:4860::8888"]
)
def test_an_address_of_ipv6_that_is_given_out_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "::", "::1", "::7f00:1", "::8.8.8.8", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:808:808::",
        "2001:db8::1", "3fff::1", "5f00::1", "4000::", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1",
        "ff02::1", "ff0e::1", "2606:4700:4700::1111%eth0", "::ffff:0:808:808",
    ],
)  # fmt: skip
def test_the_rest_of_ipv6_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.1", "2130706433", "8.8.8.8:80", "[::1]"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_to_be_private(address: ipaddress.IPv4Address) -> None:
    if address.is_private or address.is_loopback or address.is_link_local or address.is_multicast:
        assert not is_public(str(address)) or getattr(address, "ipv4_mapped", None) is not None


def forms(address: str) -> list[str]:
    """Return the IPv6 addresses that stand for one of IPv4."""
    value = int(ipaddress.IPv4Address(address))
    mapped, nat64, six_to_four = (0xFFFF << 32) | value, (0x64FF9B << 96) | value, (0x2002 << 112) | (value << 80)
    return [f"::ffff:{address}", *(str(ipaddress.IPv6Address(number)) for number in (mapped, nat64, six_to_four | 1))]
