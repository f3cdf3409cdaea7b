"""The kinds of governance: what data are, what is demanded, and who has agreed."""
