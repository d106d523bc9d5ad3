"""Foundation of the other packages: it imports none of them."""
