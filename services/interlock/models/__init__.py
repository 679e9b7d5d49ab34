"""Models behind one port, for the stages that ask one. A swap is a change of the bundle."""
