"""The consortium's office: who is invited, certified and removed. A coordinator needs none of it.

The authority's key is used by the commands of a person alone, and lies encrypted between them.
"""
